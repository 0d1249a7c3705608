//! An estimate of a key's request rate.

use throttle_core::Micros;

/// An exponential moving average of permits per second, by time slices.
#[derive(Debug)]
pub(super) struct RateEstimator {
    /// The start of the current slice, and the permits requested in it.
    since: Micros,
    count: u64,
    /// The average of the earlier slices, where the latest counts for half.
    per_second: u64,
}

const SECOND: u64 = 1_000_000;
const SLICE: u64 = 100_000;
/// The shortest time over which a rate is computed, so that a few simultaneous requests do not look
/// like a very high rate.
const LEAST: u64 = 25_000;

impl RateEstimator {
    pub(super) fn new(now: Micros, per_second: u64) -> Self {
        Self { since: now, count: 0, per_second }
    }

    #[inline]
    pub(super) fn add(&mut self, cost: u64, now: Micros) {
        if now.since(self.since).get() >= SLICE {
            self.per_second = self.per_second(now);
            (self.since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(cost);
    }

    /// Returns the estimated rate in permits per second.
    #[inline]
    pub(super) fn per_second(&self, now: Micros) -> u64 {
        let gone = now.since(self.since).get();
        let in_slice = |gone: u64| self.count.saturating_mul(SECOND) / gone.clamp(LEAST, SLICE);
        if gone < SLICE {
            // A partial slice can only raise the estimate.
            return self.per_second.max(in_slice(gone));
        }
        // Halve the estimate for each empty slice since.
        let ended = (self.per_second / 2).saturating_add(in_slice(gone) / 2);
        let idle = u32::try_from(gone / SLICE - 1).unwrap_or(u32::MAX);
        ended.checked_shr(idle).unwrap_or(0)
    }

    /// Returns the number of permits expected in a span.
    #[inline]
    pub(super) fn in_time(&self, span: Micros, now: Micros) -> u64 {
        let count = u128::from(self.per_second(now)) * u128::from(span.get()) / u128::from(SECOND);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_rate_is_estimated_and_decays() {
        let mut rate = RateEstimator::new(Micros::ZERO, 0);
        for n in 0..1_000 {
            rate.add(5, Micros::new(n * 1_000));
        }
        let now = Micros::new(1_000_000);
        assert!((4_900..=5_100).contains(&rate.per_second(now)), "{}", rate.per_second(now));
        assert_eq!(rate.in_time(Micros::new(500_000), now), rate.per_second(now) / 2);
        let later = Micros::new(2_000_000);
        assert!(rate.per_second(later) < 300, "{}", rate.per_second(later));
        assert_eq!(rate.per_second(Micros::MAX), 0);
    }

    #[test]
    fn a_burst_counts_at_once_and_large_numbers_do_not_overflow() {
        let mut rate = RateEstimator::new(Micros::ZERO, 10);
        (0..100).for_each(|_| rate.add(1, Micros::ZERO));
        assert_eq!(rate.per_second(Micros::ZERO), 4_000);
        rate.add(u64::MAX, Micros::MAX);
        rate.add(u64::MAX, Micros::MAX);
        assert_eq!(rate.in_time(Micros::MAX, Micros::MAX), u64::MAX);
    }
}
