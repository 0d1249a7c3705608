//! Errors in the configuration.

use std::sync::Arc;

use throttle_core::{Error, InvalidRule};

use crate::{
    fields::ShortSecret,
    identity::InvalidKey,
    options::{InvalidCost, InvalidPath},
};

/// A configuration error that prevents a middleware from being built.
///
/// It converts from and into [`Error`], so that `?` works on the calls of a limiter and on `build` in one function.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_http::*; }
/// use ratethrottle::{ConfigError, Error, Limiter, Options, Rule, Throttle};
/// # use throttle_memory::MemoryStorage;
///
/// fn throttle() -> Result<Throttle, ConfigError> { // or `Error`
///     let limiter = Limiter::new(MemoryStorage::new());
///     limiter.add_rule(Rule::per_minute("api", 100))?;
///     Ok(Throttle::new(limiter, Options::new().rule("api"))?)
/// }
/// # throttle().map_err(Error::from).unwrap();
/// ```
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An invalid rule or rate.
    #[error(transparent)]
    InvalidRule(#[from] InvalidRule),
    /// An unknown rule, a name that is used twice, or a limiter without rules.
    #[error(transparent)]
    Rules(#[from] Error),
    /// An invalid key: a trusted proxy that is not a network, or an invalid header field or cookie name.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// A list of methods that is empty.
    #[error(
        "`methods` is empty, so that no request would be limited: list the methods to limit, or remove the option \
         to limit all"
    )]
    NoMethods,
    /// An invalid path to exempt.
    #[error(transparent)]
    InvalidPath(#[from] InvalidPath),
    /// An invalid cost.
    #[error(transparent)]
    InvalidCost(#[from] InvalidCost),
    /// A secret of the partition key that is too short.
    #[error(transparent)]
    ShortSecret(#[from] ShortSecret),
    /// [`Options::select_rules`](crate::Options::select_rules) together with an asynchronous key, which is
    /// known only when the head of the request is no longer available.
    #[error(
        "`select_rules` cannot be combined with an asynchronous key: return `KeyWithRules::new(key, rules)` \
         from the `AsyncKey` instead"
    )]
    SelectRulesWithAsyncKey,
    /// A rule without a limiter, in a build without a storage.
    #[error(
        "a rule without a limiter needs a storage: enable the feature `memory`, or build a `Limiter` with the rule"
    )]
    NoStorage,
    /// An asynchronous key for outbound calls.
    #[error(
        "an `AsyncKey` cannot be the key of outbound calls: look the key up first, and pass it to `wait_for`"
    )]
    OutboundAsyncKey,
}

throttle_core::debug_as_text!(ConfigError);
impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::InvalidRule(error) => error.into(),
            ConfigError::Rules(error) => error,
            error => Self::Config(Arc::new(error)),
        }
    }
}
