//! The limiter: rules, allow and deny lists, and a storage.
//!
//! A *check* tests a request of a key, with a cost, against one or more rules. If all rules allow it, the cost is
//! *charged*; a *denial* charges nothing. The answer is a *decision*. Denials by rules are also *violations*, which
//! callbacks and metrics report.
//!
//! A charge can be *refunded* (the request did not count after all) or *reconciled* (the actual cost is known only
//! after the request). A leaky bucket gives a request a *scheduled time*, and the limiter can wait for it.
//!
//! [`Limiter`] is in `handle`. Checks are in `check`, and the code that waits for capacity is in `wait`, `scheduled`
//! and `pause`.

mod active_rule;
mod applied;
mod ask_kind;
mod builder;
mod changes;
mod check;
mod concurrency;
mod error;
mod handle;
mod inner;
mod lists;
mod metrics;
mod pause;
mod reconcile;
mod rule_table;
mod rules;
mod scheduled;
mod shared;
mod shutdown;
mod status;
mod stripe;
mod subscription;
mod violations;
mod wait;

pub use self::{
    ask_kind::AskKind,
    builder::LimiterBuilder,
    concurrency::{Acquired, ConcurrencyLimit, ConcurrencyPermit},
    error::Error,
    handle::Limiter,
    lists::{AllowList, DenyList},
    metrics::{Metrics, RuleMetrics, SharedListsMetrics},
    scheduled::LostSchedule,
    shared::SharedLists,
    status::{RuleStatus, Status},
    violations::Violation,
};
