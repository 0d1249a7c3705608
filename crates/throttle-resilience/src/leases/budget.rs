//! The share of a limit that leases may hold.

use std::fmt;

/// The share of a rule's limit that the leases of all instances together may hold. At most this
/// share of the limit is rejected too early.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::resilience::LeaseBudget;
///
/// assert_eq!(LeaseBudget::percent(5).of(1_000), 50);
/// assert_eq!(LeaseBudget::percent(0.5).of(1_000), 5);
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LeaseBudget {
    millionths: u32,
}

impl LeaseBudget {
    /// Creates a budget in percent of the limit, from 0.0001 to 50. Values outside this range are
    /// clamped to it, and NaN counts as the smallest value.
    #[must_use]
    pub fn percent(percent: impl Into<f64>) -> Self {
        let millionths = (percent.into() * 10_000.0).clamp(1.0, 500_000.0);
        Self { millionths: (millionths as u32).max(1) } // NaN becomes 0 as an integer
    }

    /// Returns this share of a number, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.millionths) / 1_000_000;
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Returns this share of a number, rounded up.
    pub(super) fn of_ceil(self, whole: u64) -> u64 {
        let part = (u128::from(whole) * u128::from(self.millionths)).div_ceil(1_000_000);
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for LeaseBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.millionths) / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_count_as_the_nearest_bound() {
        for (percent, of_a_million) in [
            (5.0, 50_000),
            (100.0, 500_000),
            (f64::INFINITY, 500_000),
            (0.0, 1),
            (-3.0, 1),
            (f64::NAN, 1),
        ] {
            assert_eq!(LeaseBudget::percent(percent).of(1_000_000), of_a_million, "{percent}");
        }
        assert_eq!(LeaseBudget::percent(50).of(u64::MAX), u64::MAX / 2);
        assert_eq!((LeaseBudget::percent(1).of(99), LeaseBudget::percent(1).of_ceil(99)), (0, 1));
    }
}
