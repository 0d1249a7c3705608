//! Why a middleware cannot be built.

use throttle_core::{Error, InvalidRule};

use crate::{
    fields::ShortSecret,
    identity::InvalidKey,
    options::{InvalidCost, InvalidPath},
};

/// Says why a middleware cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A rule or a rate cannot be taken.
    #[error(transparent)]
    InvalidRule(#[from] InvalidRule),
    /// A rule is not known, is named twice, or there are none.
    #[error(transparent)]
    Rules(Error),
    /// Requests cannot be told apart so: a trusted proxy is no network, or no field or cookie has the name.
    #[error(transparent)]
    InvalidKey(#[from] InvalidKey),
    /// A path that is to be exempt can be none.
    #[error(transparent)]
    InvalidPath(#[from] InvalidPath),
    /// A cost cannot be computed.
    #[error(transparent)]
    InvalidCost(#[from] InvalidCost),
    /// The secret of the partition key is too short.
    #[error(transparent)]
    ShortSecret(#[from] ShortSecret),
    /// Rules are to be picked by a key that is known later than the request is there to be looked at.
    #[error(
        "`select_rules` cannot see a key that is waited for: let the `AsyncKey` answer with \
         `KeyWithRules::new(key, rules)`"
    )]
    RulesByLaterKey,
    /// A middleware was made of a rule alone, and there is nowhere to keep its counts.
    #[error(
        "a rule alone needs a storage: build with the feature `memory`, or make a limiter of the rule"
    )]
    NoStorage,
    /// The calls of a client are told apart by a key that must be waited for.
    #[error(
        "calls cannot be told apart by an AsyncKey; look the key up, and then ask with `wait_for`"
    )]
    OutgoingByLaterKey,
}
