//! Counts of the results of calls.

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// A kind of event that is counted.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Count {
    Calls,
    Allowed,
    Denied,
    Degraded,
    Errors,
    RolledBack,
    Refunds,
    Resets,
    Changes,
}

const COUNTS: usize = Count::Changes as usize + 1;
/// The resolution of measured times, in microseconds.
const STEP: u64 = 100;
/// The number of steps: up to four seconds. Longer times count as that.
const STEPS: usize = 40_000;

/// The counts, shared by all tasks.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: [AtomicU64; COUNTS],
    times: Vec<AtomicU64>,
    longest: AtomicU64,
    violations: AtomicUsize,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: Default::default(),
            times: (0..STEPS).map(|_| AtomicU64::new(0)).collect(),
            longest: AtomicU64::new(0),
            violations: AtomicUsize::new(0),
        }
    }

    pub(crate) fn add(&self, what: Count) {
        self.counts[what as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Relaxed)
    }

    /// Records the duration of a call, in microseconds.
    pub(crate) fn took(&self, micros: u64) {
        let step = usize::try_from(micros / STEP).unwrap_or(STEPS);
        self.times[step.min(STEPS - 1)].fetch_add(1, Relaxed);
        self.longest.fetch_max(micros, Relaxed);
    }

    /// Returns a quantile of the durations, in thousandths.
    pub(crate) fn within(&self, of_a_thousand: u64) -> Duration {
        let all: u64 = self.times.iter().map(|step| step.load(Relaxed)).sum();
        let mut left = (all * of_a_thousand).div_ceil(1_000);
        for (step, count) in (1..).zip(&self.times) {
            left = left.saturating_sub(count.load(Relaxed));
            if left == 0 {
                return Duration::from_micros(step * STEP);
            }
        }
        self.longest()
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Relaxed))
    }

    pub(crate) fn set_violations(&self, violations: usize) {
        self.violations.store(violations, Relaxed);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Count::{
            Allowed, Calls, Changes, Degraded, Denied, Errors, Refunds, Resets, RolledBack,
        };
        let [calls, allowed, denied] = [Calls, Allowed, Denied].map(|what| self.count(what));
        let [degraded, errors] = [Degraded, Errors].map(|what| self.count(what));
        let [rolled_back, refunds] = [RolledBack, Refunds].map(|what| self.count(what));
        let [resets, changes] = [Resets, Changes].map(|what| self.count(what));
        write!(
            f,
            "{calls} calls: {allowed} allowed, {denied} denied ({degraded} of both degraded), {errors} \
             errors; {rolled_back} rolled back, {refunds} refunds, {resets} resets, {changes} rule changes; \
             p99.9 {:?}, longest {:?}; {} violations",
            self.within(999),
            self.longest(),
            self.violations.load(Relaxed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_durations_are_found() {
        let tally = Tally::new();
        for micros in (0..999).map(|_| 950).chain([3_000_000]) {
            tally.took(micros);
        }
        assert_eq!(tally.within(999), Duration::from_millis(1));
        assert_eq!(tally.within(1_000), Duration::from_micros(3_000_100));
        assert_eq!(tally.longest(), Duration::from_secs(3));
        tally.took(u64::MAX);
        assert_eq!(tally.within(1_000), Duration::from_secs(4));
    }
}
