//! Lifetimes of keys in the milliseconds of Redis.

use std::time::Duration;

/// The longest lifetime, a tenth of the maximum in Redis (about 290 million
/// years).
const MAX_MS: u128 = 1 << 60;

/// Returns a lifetime in whole milliseconds, rounded up, and never zero.
pub(crate) fn millis(ttl: Duration) -> u64 {
    let millis = ttl.as_micros().div_ceil(1000).clamp(1, MAX_MS);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_rounded_up_and_never_zero() {
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_micros(1_001)), 2);
        assert_eq!(millis(Duration::from_secs(1)), 1_000);
        assert_eq!(u128::from(millis(Duration::MAX)), MAX_MS);
    }
}
