//! A rule as users write it.

use std::time::Duration;

use super::{algorithm::Algorithm, error::InvalidRule, rate::Rate};

/// Describes a limit: a name, how many requests in how much time, and how they are counted.
///
/// Anything can be written here; it is checked when a limiter takes it ([`Rule::check`]).
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
    /// Describes `limit` requests in each `window`, counted by the sliding window counter.
    pub fn new(name: impl Into<String>, limit: u64, window: Duration) -> Self {
        let algorithm = Algorithm::default();
        Self { name: name.into(), limit, window, algorithm, burst: None, block: None, cost: 1 }
    }

    /// Describes `limit` requests a second.
    pub fn per_second(name: impl Into<String>, limit: u64) -> Self {
        Self::new(name, limit, Duration::from_secs(1))
    }

    /// Describes `limit` requests a minute.
    pub fn per_minute(name: impl Into<String>, limit: u64) -> Self {
        Self::new(name, limit, Duration::from_secs(60))
    }

    /// Describes `limit` requests an hour.
    pub fn per_hour(name: impl Into<String>, limit: u64) -> Self {
        Self::new(name, limit, Duration::from_secs(3_600))
    }

    /// Describes `limit` requests a day of 24 hours.
    pub fn per_day(name: impl Into<String>, limit: u64) -> Self {
        Self::new(name, limit, Duration::from_secs(86_400))
    }

    /// Reads the limit from a rate such as `100/minute` (the forms: [`Rate`]).
    ///
    /// # Errors
    ///
    /// [`InvalidRule`] when the text is no rate.
    pub fn parse(name: impl Into<String>, rate: &str) -> Result<Self, InvalidRule> {
        let name = name.into();
        let rate = Rate::parse(rate).map_err(|error| error.of(&name))?;
        Ok(Self::new(name, rate.limit(), rate.window()))
    }

    /// Picks how requests are counted; default [`Algorithm::SlidingWindowCounter`].
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets the size of the bucket, in requests: how many may come at once after a pause. Token and
    /// leaky bucket only; default: the limit.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Shuts a key out for `span` (or until it would be admitted, if that is longer) once it has been
    /// denied; default: not.
    pub fn block(mut self, span: Duration) -> Self {
        self.block = Some(span);
        self
    }

    /// Sets what one request costs where the caller does not say; default 1.
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }
}
