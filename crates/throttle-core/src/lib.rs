//! What a rate limit is: rules, five algorithms, the storage traits and the limiter.
//!
//! This crate knows no framework, no backend and no async runtime. Most users want the crate
//! `ratethrottle`, which re-exports it beside storages and middleware.
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | rule | a name, a limit N, a window W, an algorithm; for buckets a burst B; a block; a cost |
//! | key | who is limited |
//! | cost | what one request takes, 1 unless said otherwise |
//! | decision | whether a request passes, and what to tell its client |
//! | storage | where the state of each key under each rule is kept |
//!
//! # The way of a check
//!
//! [`Limiter`] makes a [`ChargeRequest`] of a key and rules, and hands it to an [`AtomicStorage`],
//! which brings the states to now, asks all, and charges all or none ([`acquire`]).

mod algorithm;
#[doc(hidden)] // of our own crates
pub mod complete_on_drop;
mod decision;
mod entry;
mod exact;
mod key;
mod limiter;
mod receipt;
mod rule;
#[doc(hidden)]
pub mod sharded;
mod shared_flag;
mod storage;
mod time;

pub use async_trait::async_trait;

#[doc(hidden)]
pub use self::algorithm::{mixed, tag};
pub use self::{
    algorithm::{CorruptState, State},
    decision::{Decision, Decisions, ListMatch, Outcome, Verdict},
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
};
