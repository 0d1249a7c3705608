//! What a limiter is made of.

use std::time::Duration;

use serde::Serialize;

use crate::{
    rule::{algorithm::Algorithm, checked::CheckedRule},
    storage::Scope,
};

/// Describes a limiter: its rules, its storage, its lists.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The rules, in the order of their names.
    pub rules: Vec<RuleStatus>,
    /// The kind of storage: `memory`, `redis`, the name of a type of one's own.
    pub storage: String,
    /// Who shares the limits.
    pub scope: Scope,
    /// How many entries of the allow list are in force.
    pub allow_list: usize,
    /// How many entries of the deny list are in force.
    pub deny_list: usize,
    /// Whether the limiter has a clock of its own instead of its storage's.
    pub own_clock: bool,
}

/// Describes a rule.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RuleStatus {
    /// The name.
    pub name: String,
    /// How many requests in a window.
    pub limit: u64,
    /// The window.
    pub window: Duration,
    /// How they are counted.
    pub algorithm: Algorithm,
    /// The most that one request can cost: the burst of a bucket, else the limit.
    pub capacity: u64,
    /// How long a denial shuts the key, if it does.
    pub block: Option<Duration>,
    /// What a request costs where the caller does not say.
    pub cost: u64,
}

impl From<&CheckedRule> for RuleStatus {
    fn from(rule: &CheckedRule) -> Self {
        Self {
            name: rule.name().to_owned(),
            limit: rule.limit(),
            window: rule.window().into(),
            algorithm: rule.algorithm(),
            capacity: rule.capacity(),
            block: rule.block().map(Duration::from),
            cost: rule.cost(),
        }
    }
}
