//! The metrics of a limiter: counts of allowed and denied requests.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::Serialize;

use super::{
    stripe::{STRIPES, Stripe},
    violations::Violation,
};
use crate::seconds;

/// The counts of a limiter since it was created.
///
/// `total`, `allowed` and `denied` count *decisions*: one for each call of [`Limiter::check`](super::Limiter::check) and
/// its variants, and one for each layer that a request passes. A request that passes two layers of one limiter counts
/// twice. A decision by several rules counts once, and a peek does not count.
///
/// Durations are serialized in seconds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// The number of decisions.
    pub total: u64,
    /// The number of decisions that allowed the request.
    pub allowed: u64,
    /// The number of decisions that denied the request: by rules, by concurrency limits, or by the deny list.
    pub denied: u64,
    /// The number of denials by single rules and concurrency limits. A request that two rules deny counts twice, and
    /// one that the deny list denies does not count.
    pub violations: u64,
    /// The number of requests for which the storage failed.
    pub errors: u64,
    /// The state of the shared lists; `None` without [`Limiter::shared_lists`](super::Limiter::shared_lists).
    pub shared_lists: Option<SharedListsMetrics>,
    /// The latest violations, oldest first, with digests of their keys. [`LimiterBuilder`](super::LimiterBuilder) sets
    /// their number, and [shows](super::LimiterBuilder::show_keys) the keys.
    pub recent_violations: Vec<Violation>,
    /// The counts by rule.
    pub rules: BTreeMap<String, RuleMetrics>,
    /// The counts by concurrency limit.
    pub concurrency: BTreeMap<String, RuleMetrics>,
}

/// The state of the local copy of the shared lists.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct SharedListsMetrics {
    /// The time since the lists were last read or found unchanged, normally at most about a second; `None` if they were
    /// never read.
    #[serde(serialize_with = "seconds::of_option")]
    pub age: Option<Duration>,
    /// The number of failed reads.
    pub errors: u64,
}

/// The counts of one rule since it was added, or of one concurrency limit.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct RuleMetrics {
    /// The number of requests that were checked against the rule.
    pub total: u64,
    /// The number of requests that the rule or the allow list allowed, even if another rule denied them.
    pub allowed: u64,
    /// The number of requests that the rule or the deny list denied.
    pub denied: u64,
}

/// Counters of decisions, in stripes, so that threads do not contend for a cache line.
///
/// A rule counts the requests that it decided alone separately from those that it decided with other rules. The number
/// of all requests is then a sum, and a request of one rule needs only one addition.
#[derive(Default, Debug)]
pub(super) struct Counts([Cells; STRIPES]);

#[derive(Default, Debug)]
#[repr(align(128))]
struct Cells {
    alone: Pair,
    shared: Pair,
}

#[derive(Default, Debug)]
struct Pair {
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Counts {
    /// Counts a decision in the stripe of the calling thread ([`Stripe::own`]).
    #[inline]
    pub(super) fn add(&self, own: Stripe, alone: bool, allowed: bool) {
        let cells = &self.0[own.index()];
        let pair = if alone { &cells.alone } else { &cells.shared };
        own.increment(if allowed { &pair.allowed } else { &pair.denied });
    }

    /// Adds the counts of single-rule requests of another counter.
    pub(super) fn absorb(&self, other: &Self) {
        let (taken, own) = (other.alone(), &self.0[Stripe::SHARED.index()].alone);
        own.allowed.fetch_add(taken.allowed, Relaxed);
        own.denied.fetch_add(taken.denied, Relaxed);
    }

    /// Returns the counts of single-rule requests.
    pub(super) fn alone(&self) -> RuleMetrics {
        self.0.iter().fold(RuleMetrics::default(), |sum, stripe| sum.plus(stripe.alone.read()))
    }

    /// Returns the counts of all requests.
    pub(super) fn all(&self) -> RuleMetrics {
        let shared = self.0.iter().map(|stripe| stripe.shared.read());
        shared.fold(self.alone(), RuleMetrics::plus)
    }
}

impl Pair {
    fn read(&self) -> RuleMetrics {
        let (allowed, denied) = (self.allowed.load(Relaxed), self.denied.load(Relaxed));
        RuleMetrics { total: allowed + denied, allowed, denied }
    }
}

impl RuleMetrics {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            allowed: self.allowed + other.allowed,
            denied: self.denied + other.denied,
        }
    }
}
