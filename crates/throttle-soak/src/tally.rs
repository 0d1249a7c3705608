//! Counts of what came of the calls.

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// What is counted.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Count {
    Calls,
    Admitted,
    Denied,
    Degraded,
    Errors,
    GivenBack,
    Refunds,
    Resets,
    Changes,
}

const COUNTS: usize = Count::Changes as usize + 1;
/// Times are counted in steps of so many microseconds,
const STEP: u64 = 100;
/// up to four seconds; what takes longer counts as that.
const STEPS: usize = 40_000;

/// Holds counts that all tasks add to.
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

    /// Takes note of how long a call took, in microseconds.
    pub(crate) fn took(&self, micros: u64) {
        let step = usize::try_from(micros / STEP).unwrap_or(STEPS);
        self.times[step.min(STEPS - 1)].fetch_add(1, Relaxed);
        self.longest.fetch_max(micros, Relaxed);
    }

    /// Returns the time within which so many of a thousand calls were answered.
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
            Admitted, Calls, Changes, Degraded, Denied, Errors, GivenBack, Refunds, Resets,
        };
        let [calls, admitted, denied] = [Calls, Admitted, Denied].map(|what| self.count(what));
        let [degraded, errors] = [Degraded, Errors].map(|what| self.count(what));
        let [given_back, refunds] = [GivenBack, Refunds].map(|what| self.count(what));
        let [resets, changes] = [Resets, Changes].map(|what| self.count(what));
        write!(
            f,
            "{calls} calls: {admitted} admitted, {denied} denied ({degraded} of both degraded), {errors} \
             errors; {given_back} given back, {refunds} refunds, {resets} resets, {changes} rule changes; \
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
    fn the_time_that_most_calls_took_is_found() {
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
