//! Where state is kept: six operations that users write ([`Storage`]), the door that whole checks go
//! through ([`AtomicStorage`]), and what stands between the two.

mod charge;
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
