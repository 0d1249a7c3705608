//! What can go wrong with a check.

use crate::{entry::InvalidEntry, rule::error::InvalidRule, storage::StorageError};

/// Says why a limiter could not decide, or would not take a rule.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No rule of that name is there.
    #[error("there is no rule {name:?}; the limiter has {known}; add it with add_rule first")]
    UnknownRule {
        /// The name that was asked for.
        name: String,
        /// The names that are known, as they are shown.
        known: String,
    },
    /// The limiter has no rules at all, so that there is nothing to check.
    #[error("the limiter has no rules; add one with add_rule first")]
    NoRules,
    /// A rule stands twice in one request, which would be charged twice.
    #[error("the rule {0:?} stands twice in one request; name each rule once")]
    RepeatedRule(String),
    /// A rule or a limit of requests under way of that name is there already, and it is another one.
    #[error(
        "there is already another limit {0:?}; give this one a name of its own, or change a rule with \
         replace_rule"
    )]
    DuplicateRule(String),
    /// A cost of 0 was asked for.
    #[error("a cost is at least 1; use peek to look without charging")]
    ZeroCost,
    /// A rule has a value that cannot be taken.
    #[error(transparent)]
    InvalidRule(#[from] InvalidRule),
    /// The storage cannot keep lists for several servers.
    #[error("the storage cannot keep lists that servers share; Redis can")]
    NoSharedLists,
    /// The storage cannot count the places of requests under way.
    #[error("the storage cannot count requests under way; those of this project can")]
    ConcurrencyUnsupported,
    /// An entry for a list is no key and no network.
    #[error(transparent)]
    InvalidEntry(#[from] InvalidEntry),
    /// The storage could not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
