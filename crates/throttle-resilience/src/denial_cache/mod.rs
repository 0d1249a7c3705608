//! A storage whose denials are kept at hand.
//!
//! # Why nobody is refused who would be admitted
//!
//! A storage that denies a cost says after which wait it admits the same cost if nothing else happens
//! (`retry_after`). Until then the denial stands, by each algorithm:
//!
//! - What is admitted meanwhile only adds to what is counted, and no algorithm admits earlier by that.
//!   By the fixed window the wait ends with the window, whatever is added. By the log it ends when entries
//!   that are there leave it. By the sliding counter and the buckets it grows with what is added.
//! - A cost that is larger needs more room than the one that was denied; a smaller one is put to the
//!   storage. A key that is shut denies every cost, and denials neither lengthen nor shorten that.
//! - A refund or a reset could free the key sooner. Those that come by this handle make the denial void,
//!   before and after they are carried out, and so does a rule that was replaced: the denial is of the old
//!   one. Those of other servers are seen within a second, because no denial is honoured for longer.
//! - The wait is counted from when the request was sent, which is no later than when the storage decided;
//!   by the limiter's own clock, if it has one. A clock that steps back makes all void.

mod entry;
mod table;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::Serialize;
use smallvec::SmallVec;
use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, Key, Outcome, Refund, Reply, Storage, StorageError,
    Wrapper, async_trait,
};

use self::table::{Known, Table};
use crate::{before_and_after::BeforeAndAfter, keyed::only_key};

/// Refuses here what the storage has just refused, so that a flood of a client that is denied does not
/// reach the storage: of one key two requests a second do, to see whether anything changed.
///
/// It refuses nobody whom the storage would admit, save that what *other* servers give back, reset or
/// change is seen within a second. Decisions look like the storage's own: waits are shortened by the time
/// that passed. Two things are the least they can be: `retry_after` of a cost that is larger than the one
/// which was denied, and what remains for costs that are smaller than it, as it was when the storage was
/// asked last. To a limiter with a clock of its own only what is exact is answered here.
///
/// Put it outermost: answers that are degraded are not kept.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::{Limiter, Storage, resilience::DenialCache};
///
/// fn limiter(storage: impl Storage) -> Limiter {
///     Limiter::new(DenialCache::new(storage, 100_000))
/// }
/// ```
#[derive(Clone)]
pub struct DenialCache {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn AtomicStorage>,
    table: Table,
    answered: AtomicU64,
}

/// Counts what was refused without asking the storage.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct DenialCacheStats {
    /// Requests that were refused here.
    pub answered: u64,
    /// Keys of which denials are remembered, among them some that are over and not cleared away yet.
    pub keys: u64,
}

impl DenialCache {
    /// Wraps a storage, and remembers denials of up to `max_keys` keys: some 250 bytes each.
    pub fn new(storage: impl Storage, max_keys: usize) -> Self {
        let storage = Arc::new(storage).atomic();
        let table = Table::new(max_keys);
        Self { inner: Arc::new(Inner { storage, table, answered: AtomicU64::new(0) }) }
    }

    /// Returns what was refused here so far.
    #[must_use]
    pub fn stats(&self) -> DenialCacheStats {
        let keys = self.inner.table.len() as u64;
        DenialCacheStats { answered: self.inner.answered.load(Relaxed), keys }
    }

    /// Forgets what is known of keys, now and when the guard is dropped.
    fn forget<'k>(
        &self,
        keys: impl Iterator<Item = &'k Key<'k>>,
    ) -> BeforeAndAfter<impl Fn() + Send + 'static> {
        let keys: SmallVec<[_; 1]> = keys.map(|key| key.clone().into_owned()).collect();
        let inner = Arc::clone(&self.inner);
        BeforeAndAfter::new(move || keys.iter().for_each(|key| inner.table.forget(key)))
    }
}

#[async_trait]
impl Wrapper for DenialCache {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner.storage
    }

    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let inner = &self.inner;
        let Some(key) = only_key(request) else {
            return inner.storage.acquire(request);
        };
        let ticket = match inner.table.find(key, request) {
            Known::Denied(outcome) => {
                inner.answered.fetch_add(1, Relaxed);
                return Reply::ready(Ok(outcome));
            }
            Known::Ask(ticket) => ticket,
        };
        inner.storage.acquire(request).then_with(inner, request, move |inner, request, answer| {
            if let Ok(outcome) = &answer {
                inner.table.note(ticket, request, outcome);
            }
            Reply::ready(answer)
        })
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        let forget = self.forget(refunds.iter().map(|refund| refund.charge().key()));
        forget.until(self.inner.storage.refund(refunds, clock))
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        let forget = self.forget(request.charges().iter().map(|charge| charge.key()));
        forget.until(self.inner.storage.reset(request))
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        let inner = Arc::clone(&self.inner);
        let _forget = BeforeAndAfter::new(move || inner.table.clear());
        self.inner.storage.clear().await
    }
}

impl fmt::Debug for DenialCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenialCache")
            .field("storage", &self.inner.storage.kind())
            .field("stats", &self.stats())
            .finish()
    }
}
