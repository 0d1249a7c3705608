//! Storages, which keep the state of each key under each rule.
//!
//! A user's own storage implements the six operations of [`Storage`]: get, set, increment, delete, exists and clear.
//! The limiter calls [`AtomicStorage`], which decides a whole request at once. [`Emulated`] implements `AtomicStorage`
//! on top of `Storage`; a storage with transactions or scripts implements both.
//!
//! A [`ChargeRequest`] has one [`Charge`] for each rule of a request: the key, the rule and the cost. It is charged by
//! all rules or by none. A [`Refund`] returns a charge. The [engine](acquire) does both on the states of a request,
//! for every storage.

mod charge;
mod charge_up_to;
mod concurrency;
mod emulated;
mod engine;
mod error;
mod lists;
mod local_permits;
mod reply;
mod request;
mod traits;
mod value;
mod wrapper;

#[doc(hidden)]
pub use self::charge_up_to::charge_up_to;
pub use self::{
    charge::{Charge, OwnedCharge, Refund},
    concurrency::{ConcurrencyKey, ConcurrencyStorage, PermitGuard, PermitReply},
    emulated::Emulated,
    engine::{StateStore, acquire, acquire_one, peek, refund},
    error::{Effect, StorageError},
    lists::{ListEntry, ListStorage, ListSubscriber, ListSubscription},
    local_permits::LocalPermits,
    reply::Reply,
    request::{ChargeRequest, OwnedChargeRequest},
    traits::{AtomicStorage, Scope, Storage},
    value::Value,
    wrapper::{StorageCall, Wrapper},
};
