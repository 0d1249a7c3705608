//! A storage whose permits are taken in batches and spent here.
//!
//! # Why never more is admitted than the rule allows
//!
//! A server asks the storage for a batch, which is charged at once, and spends it later. So at every
//! moment at least as much is charged as was spent; what is left to show is that it is spent where it
//! was charged.
//!
//! - **Fixed window**, **sliding window counter**: their state is a count for each window. A permit that
//!   was charged in a window is spent before that window ends, so that the counts at each moment are no
//!   less than those of a history without leases, and that history is one which the rule admits. (Of the
//!   counter, what the previous window still weighs only falls meanwhile.) The end of the window is the
//!   storage's: it comes with the answer, and is counted from when the batch was asked for, which is no
//!   later than when it was charged; a thousandth is taken off, for clocks that do not run alike.
//! - **Sliding window log**: a permit lives for L, the accuracy's part of the window W, and all requests
//!   of the rule are charged by the window W + L. What is spent in any stretch of length W was charged in
//!   one of length W + L, which is at most the limit.
//! - **Token bucket**: a permit lives for L, in which the rate refills the accuracy's part of the limit
//!   (or of the burst, if that is less), and all requests are charged by a burst that is smaller by just
//!   that. What is spent in any stretch of length d was charged in d + L: at most B − L·N/W + (d + L)·N/W,
//!   which is B + d·N/W.
//! - **Leaky bucket**: is not leased. It tells each request when its turn is, and permits in stock would
//!   come out of turn.
//! - Rules that **block** are not leased: who is refused too early would be shut out for it.
//!
//! What is given back was never spent, so that it is as if it had not been charged; it goes by the
//! receipt of its charge and credits no other. What may have been charged by a call whose answer is lost
//! is not spent.
//!
//! # What can be refused too early
//!
//! What servers hold and do not spend. Together that is at most the accuracy's part of the limit: what a
//! server holds, has asked for, may have lost in a call without an answer, or is about to give back, is at
//! most that part divided by the number of servers.
//!
//! Where the limit is used up and permits come back evenly, by a sliding counter or a bucket, servers that
//! find that others took what came back wait longer each time, so that they do not ask for every permit by
//! turns: until half of that part can have come back. If all others stop asking at that moment, so much is
//! unclaimed for as long as one waits, beside what they hold and give back.

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
    async_trait,
};

pub use self::{budget::LeaseBudget, stats::LeaseStats};
use self::{
    count_min::Sketch,
    plan::Named,
    state::{Counts, Inner},
    table::Table,
};
use crate::instances::Instances;

/// Takes permits of keys that are asked for often in batches, and spends them here, so that not every
/// request asks the storage.
///
/// It takes the rules that are named, and the keys of which some 16 requests a second come to this
/// server, or as many as make a batch worth it. The size of a batch follows the key's rate; the next one
/// is asked for in the background when half of it is spent; what is not spent for a while is given back.
///
/// - Never more is admitted than the rule allows, in any window.
/// - Refused too early is at most the [`LeaseBudget`]'s part of the limit, all servers together. A server
///   that is killed takes what it held with it, until its window ends.
/// - A sliding window log lets through its limit in a window that is longer by the accuracy, a token
///   bucket has a burst that is smaller by it. All servers must state the same accuracy: the bound is
///   that of the least, and a server that states none goes by the rule as it is.
/// - Leaky buckets, rules that block, and limits of which the accuracy leaves less than two permits are not leased;
///   the log says so once.
///
/// Decisions that are served from stock say what remains by the storage's last answer and what is still
/// held here: others may have taken of it since, and what others hold counts as taken. `reset_after` is
/// shortened by the time that passed. A refund goes into the stock it was taken from, if that is still
/// held. A reset ends the lease on this server; others spend what they hold. A block that is made by
/// another rule's denial, or by a rule before it was replaced, reaches other servers as their leases end.
///
/// It takes a tokio runtime. Call [`Leases::close`] before the process ends, so that what is held is
/// given back.
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

/// Says which rules are leased, and for how many keys there is room.
#[must_use]
pub struct LeasesBuilder {
    storage: Arc<dyn AtomicStorage>,
    servers: Instances,
    rules: Vec<(String, LeaseBudget)>,
    max_keys: usize,
    deadline: Option<Duration>,
}

impl Leases {
    /// Begins with the storage, and with the number of servers that share it.
    #[expect(clippy::new_ret_no_self, reason = "the rules are to be named")]
    pub fn new(storage: impl Storage, servers: impl Into<Instances>) -> LeasesBuilder {
        let (storage, servers) = (Arc::new(storage).atomic(), servers.into());
        LeasesBuilder { storage, servers, rules: Vec::new(), max_keys: 10_000, deadline: None }
    }

    /// Returns what was taken, spent and given back so far.
    #[must_use]
    pub fn stats(&self) -> LeaseStats {
        self.inner.stats()
    }

    /// Gives back what is held, and leases nothing from now on: each request asks the storage.
    pub async fn close(&self) {
        self.inner.close().await;
    }

    /// Gives back what is held by now; what is asked for later is leased again.
    pub async fn flush(&self) {
        self.inner.flush().await;
    }
}

impl LeasesBuilder {
    /// Leases the rule of this name.
    pub fn rule(mut self, name: impl Into<String>, accuracy: LeaseBudget) -> Self {
        self.rules.push((name.into(), accuracy));
        self
    }

    /// Bounds how many keys are leased at once, some 400 bytes each; default 10,000. Others ask the
    /// storage until there is room.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Bounds how long a decision that waits for a batch takes, with all the calls that are made for it;
    /// default: as long as they take.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Wraps the storage.
    #[must_use]
    pub fn build(self) -> Leases {
        let mut named: Vec<(u64, Named)> = Vec::new();
        for (name, accuracy) in self.rules {
            named.retain(|(_, old)| old.name() != name); // said twice, the latter counts
            named.push((hash_of(&name), Named::new(name, accuracy)));
        }
        Leases {
            inner: Arc::new(Inner {
                storage: self.storage,
                named,
                servers: self.servers,
                deadline: self.deadline,
                table: Table::new(self.max_keys),
                sketch: Sketch::new(),
                counts: Counts::default(),
                start: Instant::now(),
                ended: AtomicBool::new(false),
                tidying: AtomicBool::new(false),
            }),
        }
    }
}

/// Returns the hash that a rule of this name has; a name that no rule can have is never asked for.
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
        match inner.from_stock(request) {
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

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        self.inner.forgetting(request).until(self.inner.storage.reset(request))
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
            .field("servers", &self.servers)
            .field("rules", &self.rules)
            .field("max_keys", &self.max_keys)
            .finish()
    }
}
