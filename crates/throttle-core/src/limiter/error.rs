//! The errors of a limiter.

use std::sync::Arc;

use crate::{entry::InvalidEntry, rule::error::InvalidRule, storage::StorageError};

/// The error of a limiter: it could not decide, or it does not accept a rule or an entry.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No rule has this name.
    #[error("unknown rule {name:?}; the limiter has {known}; add the rule with add_rule first")]
    UnknownRule {
        /// The unknown name.
        name: String,
        /// The existing names, formatted for display.
        known: String,
    },
    /// The limiter has no rules, or the request names no rule and only named rules exist.
    #[error("the limiter has no rules; add one with add_rule first")]
    NoRules,
    /// A request names a rule twice, and would be charged twice.
    #[error("the rule {0:?} is named twice in one request; name each rule once")]
    RepeatedRule(String),
    /// A different rule or concurrency limit has this name already.
    #[error(
        "another limit {0:?} already exists; use a different name, or change the rule with \
         replace_rule"
    )]
    DuplicateRule(String),
    /// The cost of a request is 0.
    #[error("the cost must be at least 1; use peek to check without charging")]
    ZeroCost,
    /// A rule has a value out of range.
    #[error(transparent)]
    InvalidRule(#[from] InvalidRule),
    /// The storage does not support shared lists.
    #[error("the storage does not support shared lists; the Redis storage does")]
    NoSharedLists,
    /// The storage does not support concurrency limits.
    #[error("the storage does not support concurrency limits; the memory and Redis storages do")]
    ConcurrencyUnsupported,
    /// A list entry is not a valid key, address or network.
    #[error(transparent)]
    InvalidEntry(#[from] InvalidEntry),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An error in the configuration of a middleware; the text is that of its `ConfigError`.
    #[error(transparent)]
    Config(Arc<dyn std::error::Error + Send + Sync>),
}

crate::debug_as_text!(Error);
