//! The limiter: the handle that users hold, and what is behind it.

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
mod rules;
mod scheduled;
mod shared;
mod status;
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
