//! The state that all parts of the leases share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{
    AtomicStorage, ChargeRequest, CheckedRule, Clock, Micros, pending_work::PendingWork,
};

use super::{
    count_min::CountMin,
    plan::{Named, Plan},
    stats::LeaseStats,
    table::Table,
};
use crate::instances::Instances;

pub(super) struct Inner {
    pub(super) storage: Arc<dyn AtomicStorage>,
    /// The rules to lease, each with the hash of its name.
    pub(super) named: Vec<(u64, Named)>,
    pub(super) instances: Instances,
    pub(super) deadline: Option<Duration>,
    pub(super) table: Table,
    pub(super) count_min: CountMin,
    pub(super) counts: Counts,
    /// The calls in the background.
    pub(super) pending: PendingWork,
    pub(super) start: Instant,
    /// Whether leasing has stopped.
    pub(super) ended: AtomicBool,
    pub(super) maintaining: AtomicBool,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) fetched: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) returned: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) waited: AtomicU64,
}

impl Inner {
    /// Returns whether one of a request's rules can be leased.
    #[inline]
    pub(super) fn concerns(&self, request: &ChargeRequest<'_>) -> bool {
        request.charges().iter().any(|charge| self.named(charge.rule()).is_some())
    }

    #[inline]
    pub(super) fn named(&self, rule: &CheckedRule) -> Option<&Named> {
        let hash = rule.name_hash();
        let own =
            self.named.iter().find(|(own, named)| *own == hash && named.name() == rule.name());
        own.map(|(_, named)| named)
    }

    /// Returns the lease plan of a rule, if it can be leased.
    pub(super) fn plan(&self, rule: &Arc<CheckedRule>) -> Option<Arc<Plan>> {
        self.named(rule).map(|named| named.plan(rule))
    }

    /// Returns how many permits of one key this instance may hold.
    pub(super) fn most(&self, plan: &Plan) -> u64 {
        plan.budget / self.instances.count()
    }

    /// Returns the time by the limiter's own clock, or the time since creation. Both may lag behind
    /// the real time, but never lead it.
    #[inline]
    pub(super) fn now(&self, clock: Option<&Arc<dyn Clock>>) -> Micros {
        match clock {
            Some(clock) => clock.now(),
            None => {
                let since = self.start.elapsed().as_micros();
                Micros::new(u64::try_from(since).unwrap_or(u64::MAX))
            }
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    pub(super) fn count(&self, counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Relaxed);
    }

    pub(super) fn stats(&self) -> LeaseStats {
        let counts = &self.counts;
        let mut stats = LeaseStats {
            fetched: counts.fetched.load(Relaxed),
            taken: counts.taken.load(Relaxed),
            returned: counts.returned.load(Relaxed),
            expired: counts.expired.load(Relaxed),
            waited: counts.waited.load(Relaxed),
            ..LeaseStats::default()
        };
        self.table.each(|shard| {
            stats.keys += shard.len() as u64;
            stats.held += shard.held();
            stats.spent += shard.spent;
            stats.allowed += shard.allowed;
            stats.rejected += shard.rejected;
        });
        stats
    }
}
