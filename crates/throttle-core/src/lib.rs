//! The core of RateThrottle: rules, five algorithms, the storage traits and the limiter.
//!
//! This crate depends on no framework, no backend and no async runtime. Most users need the crate `ratethrottle`, which
//! re-exports it together with storages and middleware.
//!
//! # Terms
//!
//! | term | meaning |
//! | --- | --- |
//! | rule | a named limit: N requests in each window of time W, counted by an algorithm |
//! | key | the client, user or other identity that is limited; each key has its own count under each rule |
//! | cost | the number of requests that one request counts as, usually 1 |
//! | burst | the capacity of a bucket: the number of requests that are allowed at once after a pause |
//! | decision | the answer to a request: allowed or denied, the remaining quota, and when to retry |
//! | charge | the cost that an allowed request adds to the count of its key; a denied request is not charged |
//! | refund | the return of a charge, for a request that should not count |
//! | block | a time after a denial in which all requests of the key are denied |
//! | scheduled time | the time at which a leaky bucket releases a queued request; a request that gives it up leaves a freed slot |
//! | storage | the database of the counts: memory, Redis, or a custom one |
//!
//! # The path of a check
//!
//! [`Limiter`] builds a [`ChargeRequest`] from a key and rules, and passes it to an [`AtomicStorage`]. The storage
//! calls [`acquire`], or an equivalent of it: it advances the states to the current time, decides for each rule, and
//! charges all rules or none. [`Limiter::begin`] is the entry point for adapters.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod algorithm;
#[doc(hidden)] // of our own crates
pub mod complete_on_drop;
#[doc(hidden)]
pub mod debug_as_text;
mod decision;
mod entry;
mod exact;
mod key;
mod limiter;
#[doc(hidden)] // of our own crates
pub mod pending_work;
mod receipt;
mod rule;
mod seconds;
#[doc(hidden)]
pub mod sharded;
mod shared_flag;
mod storage;
mod time;
mod verdict;

pub use async_trait::async_trait;

pub use self::{
    algorithm::{CorruptState, State},
    decision::{Decision, Decisions, ListMatch},
    entry::{Entry, InvalidEntry},
    key::{Key, MAX_KEY_LEN},
    limiter::{
        Acquired, AllowList, AskKind, ConcurrencyLimit, ConcurrencyPermit, DenyList, Error,
        Limiter, LimiterBuilder, LostSchedule, Metrics, RuleMetrics, RuleStatus, SharedLists,
        SharedListsMetrics, Status, Violation,
    },
    receipt::Receipt,
    rule::{
        Algorithm, CheckedRule, InvalidRule, MAX_LIMIT, MAX_LOG_LIMIT, MAX_NAME_LEN, MAX_WINDOW,
        MIN_WINDOW, Rate, Rule, UnknownAlgorithm,
    },
    storage::{
        AtomicStorage, Charge, ChargeRequest, ConcurrencyKey, ConcurrencyStorage, Effect, Emulated,
        ListEntry, ListStorage, ListSubscriber, ListSubscription, LocalPermits, OwnedCharge,
        OwnedChargeRequest, PermitGuard, PermitReply, Refund, Reply, Scope, StateStore, Storage,
        StorageCall, StorageError, Value, Wrapper, acquire, acquire_one, peek, refund,
    },
    time::{Clock, ManualClock, Micros, Sleep, SystemClock},
    verdict::{Outcome, Verdict},
};
#[doc(hidden)]
pub use self::{
    algorithm::{mixed, tag},
    storage::charge_up_to,
};
