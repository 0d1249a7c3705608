//! The wait before the next attempt.

use std::time::Duration;

/// An exponential backoff with jitter, so that servers that lost the same Redis do not all reconnect at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// Returns the next wait: between half and all of `first · 2ⁿ`, never above `max`.
    pub(crate) fn next(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        doubled.mul_f64(0.5 + 0.5 * fastrand::f64())
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_vary_by_half() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
        for max in [10, 20, 40, 80, 100, 100] {
            let wait = backoff.next();
            assert!(wait <= Duration::from_millis(max), "{wait:?}");
            assert!(wait >= Duration::from_millis(max) / 2, "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(10));
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX);
        for _ in 0..1000 {
            backoff.next();
        }
    }
}
