//! The definition of a rule by the user.

use std::time::Duration;

use super::{algorithm::Algorithm, error::InvalidRule, rate::Rate};

/// The shortest window.
pub const MIN_WINDOW: Duration = Duration::from_millis(1);

/// The description of a limit: a name, a number of requests, a window, and an algorithm.
///
/// The values are not checked here, but when the rule is added to a limiter ([`Rule::check`]).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// # use throttle_core as ratethrottle;
/// use ratethrottle::{Algorithm, Rule};
///
/// let burst = Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20);
/// let login = Rule::parse("login", "5/minute")?.block(Duration::from_secs(900));
/// let daily = Rule::new("daily", 10_000, Duration::from_secs(86_400));
/// # for rule in [burst, login, daily] { rule.check()?; }
/// # Ok::<(), throttle_core::InvalidRule>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Rule {
    pub(super) name: String,
    pub(super) limit: u64,
    pub(super) window: Duration,
    pub(super) algorithm: Algorithm,
    pub(super) burst: Option<u64>,
    pub(super) block: Option<Duration>,
    pub(super) cost: u64,
}

impl Rule {
    /// Creates a rule of `limit` requests per `window`, counted by the sliding window counter.
    pub fn new(name: impl Into<String>, limit: u64, window: Duration) -> Self {
        let algorithm = Algorithm::default();
        Self { name: name.into(), limit, window, algorithm, burst: None, block: None, cost: 1 }
    }

    /// Creates a rule of `limit` requests per second.
    pub fn per_second(name: impl Into<String>, limit: u64) -> Self {
        Self::new(name, limit, Duration::from_secs(1))
    }

    /// Creates a rule of `limit` requests per minute.
    pub fn per_minute(name: impl Into<String>, limit: u64) -> Self {
        Self::new(name, limit, Duration::from_secs(60))
    }

    /// Creates a rule of `limit` requests per hour.
    pub fn per_hour(name: impl Into<String>, limit: u64) -> Self {
        Self::new(name, limit, Duration::from_secs(3_600))
    }

    /// Creates a rule of `limit` requests per day of 24 hours.
    pub fn per_day(name: impl Into<String>, limit: u64) -> Self {
        Self::new(name, limit, Duration::from_secs(86_400))
    }

    /// Creates a rule of one request per `period`, without a burst: a token bucket of one token.
    ///
    /// A period below [`MIN_WINDOW`](crate::MIN_WINDOW) is possible. The rule then has several requests in a longer
    /// window, which are still allowed one by one. Set a [burst](Self::burst) to allow requests at once after a pause.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use throttle_core as ratethrottle;
    /// use ratethrottle::Rule;
    ///
    /// let rule = Rule::every("sensor", Duration::from_micros(200)); // 5,000 per second, each 200 µs after the last
    /// # let rule = rule.check()?;
    /// # assert_eq!((rule.limit(), rule.window().get(), rule.capacity()), (5, 1_000, 1));
    /// # Ok::<(), throttle_core::InvalidRule>(())
    /// ```
    pub fn every(name: impl Into<String>, period: Duration) -> Self {
        // Windows have whole microseconds, and at least a millisecond.
        let is_window = |n: &u32| {
            let window = period.saturating_mul(*n);
            window >= MIN_WINDOW && window.subsec_nanos().is_multiple_of(1_000)
        };
        // The most that is needed is a thousand times the periods in a millisecond.
        let limit = match period {
            Duration::ZERO => 1, // not a valid window
            _ => (1..=1_000_000).find(is_window).unwrap_or(1),
        };
        let bucket = Self::new(name, limit.into(), period.saturating_mul(limit));
        bucket.algorithm(Algorithm::TokenBucket).burst(1)
    }

    /// Creates a rule from a rate such as `100/minute`; see [`Rate`] for the syntax.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidRule`] if the text is not a rate.
    pub fn parse(name: impl Into<String>, rate: &str) -> Result<Self, InvalidRule> {
        let name = name.into();
        let rate = Rate::parse(rate).map_err(|error| error.of(&name))?;
        Ok(Self::new(name, rate.limit(), rate.window()))
    }

    /// Sets the algorithm that counts requests; default [`Algorithm::SlidingWindowCounter`].
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets the capacity of the bucket: the number of requests that are allowed at once after a pause.
    ///
    /// Only the token bucket and the leaky bucket have a burst. The default is the limit.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Sets how long a key is blocked after a denial; by default it is not blocked.
    ///
    /// A blocked key stays blocked at least until the denied request would be allowed.
    pub fn block(mut self, span: Duration) -> Self {
        self.block = Some(span);
        self
    }

    /// Sets the cost of a request without an explicit cost; default 1.
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_per_period_is_exact_and_without_a_burst() {
        let second = 1_000_000_000;
        for (nanos, limit, window_micros) in [
            (1, 1_000_000, 1_000),
            (1_500, 668, 1_002),
            (200_000, 5, 1_000),
            (700_000, 2, 1_400),
            (1_000_000, 1, 1_000),
            (1_000_001, 1_000, 1_000_001),
            (60 * second, 1, 60_000_000),
        ] {
            let rule = Rule::every("r", Duration::from_nanos(nanos)).check().unwrap();
            assert_eq!((rule.limit(), rule.window().get()), (limit, window_micros), "{nanos} ns");
            assert_eq!((rule.capacity(), rule.cost()), (1, 1));
        }
        for period in [Duration::ZERO, Duration::MAX] {
            let error = Rule::every("r", period).check().unwrap_err();
            assert_eq!(error.field(), "window");
        }
    }
}
