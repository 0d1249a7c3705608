//! How many passed and how many did not.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use serde::Serialize;

use super::violations::Violation;

/// Counts what a limiter decided since it was made.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Requests that were decided.
    pub total: u64,
    /// Requests that were admitted.
    pub allowed: u64,
    /// Requests that were refused.
    pub denied: u64,
    /// Denials by single rules: a request that two rules deny is two violations, and one that the deny list
    /// denies is none.
    pub violations: u64,
    /// Requests that could not be decided because the storage failed.
    pub errors: u64,
    /// How the lists that servers share are read; none without [`Limiter::shared_lists`](super::Limiter::shared_lists).
    pub shared_lists: Option<SharedListsMetrics>,
    /// The latest violations, oldest first; how many are kept is an option of the limiter.
    pub recent_violations: Vec<Violation>,
    /// The same by rule.
    pub rules: BTreeMap<String, RuleMetrics>,
}

/// How well the copy of the shared lists is kept up.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct SharedListsMetrics {
    /// The time since the lists were last read in full or found unchanged: about a second at most while all
    /// is well; none if they never were read.
    pub age: Option<Duration>,
    /// How often they could not be read.
    pub errors: u64,
}

/// Counts what one rule decided since it was added.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct RuleMetrics {
    /// Requests that it was asked about.
    pub total: u64,
    /// Requests that it would have admitted, and those that the allow list admitted.
    pub allowed: u64,
    /// Requests that it denied, and those that the deny list denied.
    pub denied: u64,
}

/// Counts decisions, spread so that threads do not fight over a cache line.
///
/// A rule counts the requests that it decided alone apart from those that it shared with others, so
/// that the count of all requests is a sum, and a request of one rule costs one addition.
#[derive(Default, Debug)]
pub(super) struct Counts([Stripe; STRIPES]);

const STRIPES: usize = 8;

#[derive(Default, Debug)]
#[repr(align(128))]
struct Stripe {
    alone: Pair,
    shared: Pair,
}

#[derive(Default, Debug)]
struct Pair {
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Counts {
    /// Counts a decision in the stripe of the calling thread ([`own_stripe`]).
    #[inline]
    pub(super) fn add(&self, stripe: usize, alone: bool, allowed: bool) {
        let stripe = &self.0[stripe % STRIPES];
        let pair = if alone { &stripe.alone } else { &stripe.shared };
        let counter = if allowed { &pair.allowed } else { &pair.denied };
        counter.fetch_add(1, Relaxed);
    }

    /// Takes over what another counted alone.
    pub(super) fn absorb(&self, other: &Self) {
        let taken = other.alone();
        self.0[0].alone.allowed.fetch_add(taken.allowed, Relaxed);
        self.0[0].alone.denied.fetch_add(taken.denied, Relaxed);
    }

    /// Returns what was counted alone.
    pub(super) fn alone(&self) -> RuleMetrics {
        self.0.iter().fold(RuleMetrics::default(), |sum, stripe| sum.plus(stripe.alone.read()))
    }

    /// Returns all that was counted.
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

/// Returns the stripe of the calling thread.
#[inline]
pub(super) fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let own = OWN.get();
    if own < STRIPES {
        return own;
    }
    let new = NEXT.fetch_add(1, Relaxed) % STRIPES;
    OWN.set(new);
    new
}
