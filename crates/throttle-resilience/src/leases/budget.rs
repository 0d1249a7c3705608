//! How far from its limit a rule may be.

use std::fmt;

/// Says how much of a rule's limit the servers together may hold in leases, and so how much may be
/// refused too early.
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
    /// Takes hundredths of the limit, from 0.0001 to 50; what lies outside counts as the nearest, and
    /// what is no number as the least.
    #[must_use]
    pub fn percent(percent: impl Into<f64>) -> Self {
        let millionths = (percent.into() * 10_000.0).clamp(1.0, 500_000.0);
        Self { millionths: (millionths as u32).max(1) } // as an integer, what is no number is 0
    }

    /// Returns the part of a whole, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.millionths) / 1_000_000;
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Returns the part of a whole, rounded up.
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
    fn what_is_out_of_range_counts_as_the_nearest() {
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
