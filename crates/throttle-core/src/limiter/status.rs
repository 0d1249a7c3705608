//! The status of a limiter: its rules, its storage, its lists.

use std::time::Duration;

use serde::Serialize;

use super::active_rule::ActiveRule;
use crate::{rule::algorithm::Algorithm, seconds, storage::Scope};

/// A description of a limiter: its rules, its storage, its lists.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The rules, in the order of their names.
    pub rules: Vec<RuleStatus>,
    /// The kind of storage: `memory`, `redis`, or the type name of a custom storage.
    pub storage: String,
    /// The processes that share the limits.
    pub scope: Scope,
    /// The number of entries in force in the allow list.
    pub allow_list: usize,
    /// The number of entries in force in the deny list.
    pub deny_list: usize,
    /// Whether the limiter uses its own clock instead of the storage's.
    pub own_clock: bool,
}

/// A description of a rule. Durations are serialized in seconds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RuleStatus {
    /// The name.
    pub name: String,
    /// The number of requests per window.
    pub limit: u64,
    /// The window.
    #[serde(serialize_with = "seconds::of")]
    pub window: Duration,
    /// The algorithm that counts them.
    pub algorithm: Algorithm,
    /// The highest cost of one request: the burst of a bucket, otherwise the limit.
    pub capacity: u64,
    /// The time for which a denial blocks the key, if it does.
    #[serde(serialize_with = "seconds::of_option")]
    pub block: Option<Duration>,
    /// The cost of a request without an explicit cost.
    pub cost: u64,
    /// Whether the rule applies only to requests that name it, because the option `limit` of a layer added it.
    pub named_only: bool,
}

impl RuleStatus {
    pub(super) fn of(active: &ActiveRule) -> Self {
        let rule = &active.rule;
        Self {
            name: rule.name().to_owned(),
            limit: rule.limit(),
            window: rule.window().into(),
            algorithm: rule.algorithm(),
            capacity: rule.capacity(),
            block: rule.block().map(Duration::from),
            cost: rule.cost(),
            named_only: !active.is_default,
        }
    }
}
