//! Leases: permits of hot keys that are charged in batches and spent locally.
//!
//! # Why leases never allow more than the rule
//!
//! An instance requests a batch from the storage, which charges it immediately, and spends it later. So
//! at every moment at least as much is charged as is spent. What remains to show is that a permit
//! is also spent in the window that it was charged in.
//!
//! - **Fixed window**, **sliding window counter**: their state is a count per window. A permit
//!   charged in a window is spent before that window ends. So the counts are never lower than in a history without
//!   leases, and the rule allows that history. (For the counter, the weight of the previous window only falls in the
//!   meantime.) The end of the window is in the storage's answer. It is counted from the time when the batch was
//!   requested, which is not later than the time of the charge. A thousandth is subtracted, for clocks that run at
//!   different rates.
//! - **Sliding window log**: a permit lives for L, the lease budget's share of the window W, and
//!   all requests of the rule are charged with the window W + L. Permits spent in any interval of
//!   length W were charged in an interval of length W + L, so they are at most the limit.
//! - **Token bucket**: a permit lives for L, the time in which the rate refills the lease budget's
//!   share of the limit (or of the burst, if that is less), and all requests are charged with a
//!   burst that is smaller by the same amount. Permits spent in any interval of length d were
//!   charged in one of length d + L. They are at most B − L·N/W + (d + L)·N/W, which is B + d·N/W.
//! - **Leaky bucket**: not leased. It gives each request a scheduled time, and leased permits would
//!   be spent out of schedule.
//! - Rules that **block**: not leased. A request that is rejected too early would block its key.
//!
//! A permit that is returned was never spent, so it is as if it had never been charged. It is
//! refunded with the receipt of its own charge and credits no other charge. Permits whose grant is
//! lost (the call may have been carried out, but has no answer) are never spent.
//!
//! # Early rejections
//!
//! A request can be rejected early, because instances hold permits that they do not spend. Together these are at most
//! the lease budget's share of the limit. To ensure this, each instance counts the permits that it holds, has
//! requested, may have lost in a call without an answer, or is returning. Their sum is at most that share divided by
//! the number of instances.
//!
//! If the limit is used up and permits are freed at a constant rate (sliding counter, buckets),
//! instances compete for each freed permit. An instance that finds that others took the freed
//! permits therefore waits longer each time, up to the time in which half of that share is freed.
//! If all others stop at that moment, the permits freed during one such wait are unclaimed, in
//! addition to those that are held or being returned.

mod acquire;
mod budget;
mod count_min;
mod fetch;
mod forget;
mod lease;
mod maintenance;
mod pending_fetch;
mod plan;
mod rate_estimator;
mod refund;
mod state;
mod stats;
mod table;
mod taken;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, Outcome, Refund, Reply, Storage, StorageError, Wrapper,
    async_trait, pending_work::PendingWork,
};

pub use self::{budget::LeaseBudget, stats::LeaseStats};
use self::{
    count_min::CountMin,
    plan::Named,
    state::{Counts, Inner},
    table::Table,
};
use crate::instances::Instances;

/// A wrapper that takes permits of hot keys in batches and spends them locally.
///
/// Most requests of a hot key then make no call to the storage. Leases apply only to the rules that are named in the
/// builder. A key becomes hot at about 16 requests a second on this instance, or at a higher rate if a batch would not
/// pay off otherwise. The size of a batch follows the key's request rate. The next batch is requested in the background
/// when half of the current one is spent, and permits that stay unspent are returned.
///
/// - Leases never allow more than the rule, in any window.
/// - At most the [`LeaseBudget`]'s share of the limit is rejected too early, by all instances
///   together. The permits of a killed instance are unavailable until their window ends.
/// - With leases, a sliding window log allows its limit in a window that is longer by the lease
///   budget's share, and a token bucket has a burst that is smaller by it. All instances must use
///   the same lease budget: otherwise the smallest one determines the bound, and an instance
///   without leases applies the rule unchanged.
/// - Leaky buckets, rules that block, and limits with a lease budget of less than two permits
///   are not leased; a warning is logged once.
///
/// A decision made from a lease reports as remaining the last answer of the storage plus the permits held locally.
/// Other instances may have used some of this since, and permits that they hold count as used. `reset_after` is
/// shortened by the time that has passed. A refund goes into the lease that
/// the permits came from, if that is still held. A reset ends the lease on this instance; other instances spend the
/// permits that they hold. A block caused by another rule, or by a rule before it was replaced,
/// reaches other instances when their leases end.
///
/// Leases need a tokio runtime. Call [`Limiter::shutdown`](throttle_core::Limiter::shutdown) before
/// the process ends, so that held permits are returned.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::{Limiter, Storage, resilience::{LeaseBudget, Leases, Instances}};
///
/// fn limiter(redis: impl Storage) -> Limiter {
///     let leases = Leases::new(redis, Instances::fixed(3)).rule("api", LeaseBudget::percent(5));
///     Limiter::new(leases.build())
/// }
/// ```
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

/// A builder of [`Leases`]: the rules to lease and the maximum number of keys.
#[must_use]
pub struct LeasesBuilder {
    storage: Arc<dyn AtomicStorage>,
    instances: Instances,
    rules: Vec<(String, LeaseBudget)>,
    max_keys: usize,
    deadline: Option<Duration>,
}

impl Leases {
    /// Creates a builder for a storage and the number of instances that share it.
    #[expect(
        clippy::new_ret_no_self,
        reason = "leases need the names of rules, so this returns a builder"
    )]
    pub fn new(storage: impl Storage, instances: impl Into<Instances>) -> LeasesBuilder {
        let (storage, instances) = (Arc::new(storage).atomic(), instances.into());
        LeasesBuilder { storage, instances, rules: Vec::new(), max_keys: 10_000, deadline: None }
    }

    /// Returns the statistics since the wrapper was created.
    #[must_use]
    pub fn stats(&self) -> LeaseStats {
        self.inner.stats()
    }

    /// Returns all held permits to the storage and stops leasing: each later request calls the
    /// storage.
    ///
    /// [`Limiter::shutdown`](throttle_core::Limiter::shutdown) does this, too.
    pub async fn close(&self) {
        let _logged = self.inner.close().await;
    }

    /// Returns all held permits to the storage. Later requests can lease again.
    pub async fn flush(&self) {
        let _logged = self.inner.flush().await;
    }
}

impl LeasesBuilder {
    /// Leases the rule of this name, with this budget.
    pub fn rule(mut self, name: impl Into<String>, budget: LeaseBudget) -> Self {
        self.rules.push((name.into(), budget));
        self
    }

    /// Sets how many keys are leased at a time, about 400 bytes each. Default: 10,000.
    ///
    /// Requests of further keys call the storage until there is room.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Sets how long a decision may wait for a batch, including all calls made for it. Default: no
    /// bound.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Wraps the storage.
    #[must_use]
    pub fn build(self) -> Leases {
        let mut named: Vec<(u64, Named)> = Vec::new();
        for (name, budget) in self.rules {
            named.retain(|(_, old)| old.name() != name); // the last call wins
            named.push((hash_of(&name), Named::new(name, budget)));
        }
        Leases {
            inner: Arc::new(Inner {
                storage: self.storage,
                named,
                instances: self.instances,
                deadline: self.deadline,
                table: Table::new(self.max_keys),
                count_min: CountMin::new(),
                counts: Counts::default(),
                pending: PendingWork::default(),
                start: Instant::now(),
                ended: AtomicBool::new(false),
                maintaining: AtomicBool::new(false),
            }),
        }
    }
}

/// Returns the name hash of a rule, or 0 for a name that no rule can have and that no request
/// therefore uses.
fn hash_of(name: &str) -> u64 {
    throttle_core::Rule::per_second(name, 1).check().map_or(0, |rule| rule.name_hash())
}

#[async_trait]
impl Wrapper for Leases {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner.storage
    }

    #[inline]
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let inner = &self.inner;
        if !inner.concerns(request) {
            return inner.storage.acquire(request);
        }
        match inner.from_lease(request) {
            Some(outcome) => Reply::ready(Ok(outcome)),
            None => inner.acquire(request),
        }
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        if !self.inner.concerns(request) {
            return self.inner.storage.peek(request);
        }
        self.inner.peek(request)
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        self.inner.refund(refunds, clock)
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        self.inner.forgetting(request).until(self.inner.storage.reset(request))
    }

    /// Does the same as [`Leases::close`], and completes the calls in the background.
    fn shutdown(&self) -> Reply<()> {
        let inner = Arc::clone(&self.inner);
        Reply::pending(async move {
            let returned = inner.close().await;
            let lost = inner.pending.wait().await;
            inner.storage.shutdown().await?;
            match lost {
                0 => returned,
                _ => Err(StorageError::other(format!("{lost} calls for leases were lost"))),
            }
        })
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        let _forgetting = self.inner.forgetting_all();
        self.inner.storage.clear().await
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases")
            .field("storage", &self.inner.storage.kind())
            .field("stats", &self.stats())
            .finish()
    }
}

impl fmt::Debug for LeasesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasesBuilder")
            .field("storage", &self.storage.kind())
            .field("instances", &self.instances)
            .field("rules", &self.rules)
            .field("max_keys", &self.max_keys)
            .finish()
    }
}
