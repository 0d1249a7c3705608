//! The definition of a rule by the user.

use std::time::Duration;

use super::{algorithm::Algorithm, error::InvalidRule, rate::Rate};

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

    /// Creates a rule from a rate such as `100/minute`; see [`Rate`] for the syntax.
    ///
    /// # Errors
    ///
    /// [`InvalidRule`] if the text is not a rate.
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
