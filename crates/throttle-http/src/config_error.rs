//! Errors in the configuration.

use std::sync::Arc;

use throttle_core::{Error, InvalidRule};

use crate::{
    fields::ShortSecret,
    identity::InvalidKey,
    options::{InvalidCost, InvalidPath},
};

/// An error in the configuration, for which a middleware cannot be built.
#[derive(thiserror::Error)]
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
