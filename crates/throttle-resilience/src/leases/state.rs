//! What all parts of the leases share: the storage, the leases, and what is counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{AtomicStorage, ChargeRequest, CheckedRule, Clock, Micros};

use super::{
    count_min::Sketch,
    plan::{Named, Plan},
    stats::LeaseStats,
    table::Table,
};
use crate::instances::Instances;

pub(super) struct Inner {
    pub(super) storage: Arc<dyn AtomicStorage>,
    /// The rules that are leased, each with the hash of its name.
    pub(super) named: Vec<(u64, Named)>,
    pub(super) servers: Instances,
    pub(super) deadline: Option<Duration>,
    pub(super) table: Table,
    pub(super) sketch: Sketch,
    pub(super) counts: Counts,
    pub(super) start: Instant,
    /// Whether nothing is leased any more.
    pub(super) ended: AtomicBool,
    pub(super) tidying: AtomicBool,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) fetched: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) given_back: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) waited: AtomicU64,
}

impl Inner {
    /// Returns whether one of a request's rules is named.
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

    /// Returns how a rule is leased, if it is named.
    pub(super) fn plan(&self, rule: &Arc<CheckedRule>) -> Option<Arc<Plan>> {
        self.named(rule).map(|named| named.plan(rule))
    }

    /// Returns how much this server may hold of one key.
    pub(super) fn most(&self, plan: &Plan) -> u64 {
        plan.slack / self.servers.count()
    }

    /// Returns the time by the limiter's own clock, or since this was made; it is never later than it is.
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
        let mut figures = LeaseStats {
            fetched: counts.fetched.load(Relaxed),
            taken: counts.taken.load(Relaxed),
            given_back: counts.given_back.load(Relaxed),
            expired: counts.expired.load(Relaxed),
            waited: counts.waited.load(Relaxed),
            ..LeaseStats::default()
        };
        self.table.each(|shard| {
            figures.keys += shard.len() as u64;
            figures.held += shard.held();
            figures.spent += shard.spent;
            figures.answered += shard.answered;
            figures.refused += shard.refused;
        });
        figures
    }
}
