//! Rules: what is asked ([`Rule`], [`Rate`]), and the checked form that arithmetic sees
//! ([`CheckedRule`]).

mod checked;
mod error;
mod rate;

use std::time::Duration;

pub(crate) use self::error::quoted;
pub use self::{
    checked::{CheckedRule, MAX_LIMIT, MAX_LOG_LIMIT, MAX_NAME_LEN, MAX_WINDOW, MIN_WINDOW},
    error::InvalidRule,
    rate::Rate,
};
use crate::Algorithm;

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
    name: String,
    limit: u64,
    window: Duration,
    algorithm: Algorithm,
    burst: Option<u64>,
    block: Option<Duration>,
    cost: u64,
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

    /// Returns the checked form.
    ///
    /// # Errors
    ///
    /// [`InvalidRule`], which names the field, the value and what is allowed: a limit or burst from 1
    /// to [`MAX_LIMIT`] ([`MAX_LOG_LIMIT`] for the sliding window log), a window or block from
    /// [`MIN_WINDOW`] to [`MAX_WINDOW`], a bucket that is empty again within [`MAX_WINDOW`], a cost
    /// that the rule can ever admit, a name of 1 to [`MAX_NAME_LEN`] printable ASCII characters.
    pub fn check(&self) -> Result<CheckedRule, InvalidRule> {
        CheckedRule::new(self)
    }
}
