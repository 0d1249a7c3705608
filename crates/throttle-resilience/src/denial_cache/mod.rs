//! A cache of recent denials.
//!
//! # Why no request is rejected that the storage would allow
//!
//! A denial reports the wait after which the storage would allow the same cost if nothing else
//! happens (`retry_after`). Until then the denial holds, for each algorithm:
//!
//! - Requests allowed in the meantime only add to the count, and no algorithm allows a request
//!   earlier because of that. With a fixed window, the wait ends with the window, however many requests are added. With
//!   a log, it ends when existing entries leave the window. With a sliding counter or a
//!   bucket, it grows with each added request.
//! - A larger cost needs more room than the denied one; a smaller one is sent to the storage. A
//!   blocked key denies every cost, and denials neither extend nor shorten a block.
//! - A refund or a reset can free the key earlier. A refund or reset through this handle removes the denial, before and
//!   after the call. A replaced rule also removes it, because the denial belongs to the old rule. A refund or reset by
//!   another instance takes effect within a second, because a denial is not used for longer.
//! - The wait is counted from when the request was sent, which is not later than the storage's
//!   decision. If the limiter has its own clock, that clock is used. A clock that steps back
//!   removes all denials of the key.

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

/// A cache that repeats recent denials without calling the storage.
///
/// Use it against floods: while a key is denied, only about two of its requests per second reach the storage, to detect
/// changes.
///
/// No request is rejected that the storage would allow, with one exception: refunds, resets and
/// rule changes made by *other* instances are noticed within a second. Decisions look like the
/// storage's own, with waits shortened by the time that has passed. Two values are lower bounds:
/// `retry_after` of a cost larger than the denied one, and the remaining count for a smaller cost,
/// which is as of the storage's last answer. A limiter with its own clock gets only exact answers
/// from the cache.
///
/// Put it outside of all other wrappers. Degraded decisions are not cached.
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
    hits: AtomicU64,
}

/// Statistics of a denial cache.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct DenialCacheStats {
    /// Requests rejected without calling the storage.
    pub hits: u64,
    /// Keys in the cache, including some whose denials have expired but are not removed yet.
    pub keys: u64,
}

impl DenialCache {
    /// Wraps a storage and caches denials of up to `max_keys` keys, about 250 bytes each.
    pub fn new(storage: impl Storage, max_keys: usize) -> Self {
        let storage = Arc::new(storage).atomic();
        let table = Table::new(max_keys);
        Self { inner: Arc::new(Inner { storage, table, hits: AtomicU64::new(0) }) }
    }

    /// Returns the statistics since the cache was created.
    #[must_use]
    pub fn stats(&self) -> DenialCacheStats {
        let keys = self.inner.table.len() as u64;
        DenialCacheStats { hits: self.inner.hits.load(Relaxed), keys }
    }

    /// Removes the denials of some keys now, and again when the guard is dropped. A denial decided
    /// before a refund took effect can arrive while the refund is in flight.
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
                inner.hits.fetch_add(1, Relaxed);
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

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
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
