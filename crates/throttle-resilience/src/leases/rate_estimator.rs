//! How often a key is asked for.

use throttle_core::Micros;

/// Measures permits a second, by slices of time.
#[derive(Debug)]
pub(super) struct Meter {
    /// When this slice began, and what was met in it.
    since: Micros,
    met: u64,
    /// Of the slices before, the latest counting for half.
    per_second: u64,
}

const SECOND: u64 = 1_000_000;
const SLICE: u64 = 100_000;
/// What comes at once is taken to come within this time.
const LEAST: u64 = 25_000;

impl Meter {
    pub(super) fn new(now: Micros, per_second: u64) -> Self {
        Self { since: now, met: 0, per_second }
    }

    #[inline]
    pub(super) fn add(&mut self, cost: u64, now: Micros) {
        if now.since(self.since).get() >= SLICE {
            self.per_second = self.per_second(now);
            (self.since, self.met) = (now, 0);
        }
        self.met = self.met.saturating_add(cost);
    }

    /// Returns how many permits are asked for in a second, as far as is known.
    #[inline]
    pub(super) fn per_second(&self, now: Micros) -> u64 {
        let gone = now.since(self.since).get();
        let in_slice = |gone: u64| self.met.saturating_mul(SECOND) / gone.clamp(LEAST, SLICE);
        if gone < SLICE {
            return self.per_second.max(in_slice(gone)); // of a part of a slice only more is believed
        }
        // Halved for each slice that went by since.
        let ended = (self.per_second / 2).saturating_add(in_slice(gone) / 2);
        let idle = u32::try_from(gone / SLICE - 1).unwrap_or(u32::MAX);
        ended.checked_shr(idle).unwrap_or(0)
    }

    /// Returns how many permits are asked for in a span.
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
    fn a_steady_rate_is_found_and_forgotten() {
        let mut meter = Meter::new(Micros::ZERO, 0);
        for n in 0..1_000 {
            meter.add(5, Micros::new(n * 1_000));
        }
        let now = Micros::new(1_000_000);
        assert!((4_900..=5_100).contains(&meter.per_second(now)), "{}", meter.per_second(now));
        assert_eq!(meter.in_time(Micros::new(500_000), now), meter.per_second(now) / 2);
        let later = Micros::new(2_000_000);
        assert!(meter.per_second(later) < 300, "{}", meter.per_second(later));
        assert_eq!(meter.per_second(Micros::MAX), 0);
    }

    #[test]
    fn what_comes_at_once_counts_at_once_and_the_greatest_numbers_do_no_harm() {
        let mut meter = Meter::new(Micros::ZERO, 10);
        (0..100).for_each(|_| meter.add(1, Micros::ZERO));
        assert_eq!(meter.per_second(Micros::ZERO), 4_000);
        meter.add(u64::MAX, Micros::MAX);
        meter.add(u64::MAX, Micros::MAX);
        assert_eq!(meter.in_time(Micros::MAX, Micros::MAX), u64::MAX);
    }
}
