//! How many passed and how many did not.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use serde::Serialize;

use super::Violation;

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
    /// Denials by single rules: a request that two rules deny is two violations.
    pub violations: u64,
    /// Requests that could not be decided because the storage failed.
    pub errors: u64,
    /// The latest violations, oldest first; how many are kept is an option of the limiter.
    pub recent_violations: Vec<Violation>,
    /// The same by rule.
    pub rules: BTreeMap<String, RuleMetrics>,
}

/// Counts what one rule decided since it was added.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct RuleMetrics {
    /// Requests that it was asked about.
    pub total: u64,
    /// Requests that it would have admitted.
    pub allowed: u64,
    /// Requests that it denied.
    pub denied: u64,
}

/// Two counters, spread so that threads do not fight over a cache line.
#[derive(Default, Debug)]
pub(super) struct Counts([Stripe; STRIPES]);

const STRIPES: usize = 8;

#[derive(Default, Debug)]
#[repr(align(128))]
struct Stripe {
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Counts {
    /// Counts in the stripe of the calling thread ([`own_stripe`]).
    #[inline]
    pub(super) fn add(&self, stripe: usize, allowed: bool) {
        let stripe = &self.0[stripe % STRIPES];
        let counter = if allowed { &stripe.allowed } else { &stripe.denied };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> RuleMetrics {
        let sum = |of: fn(&Stripe) -> &AtomicU64| self.0.iter().map(|s| of(s).load(Relaxed)).sum();
        let (allowed, denied): (u64, u64) = (sum(|s| &s.allowed), sum(|s| &s.denied));
        RuleMetrics { total: allowed + denied, allowed, denied }
    }
}

/// Returns the stripe of the calling thread.
#[inline]
pub(super) fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed) % STRIPES);
    }
    OWN.with(Cell::get)
}
