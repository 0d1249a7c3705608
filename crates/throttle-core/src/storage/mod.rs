//! Where state is kept: six operations that users write ([`Storage`]), the door that whole checks go
//! through ([`AtomicStorage`]), and what stands between the two.

mod charge;
mod emulated;
mod error;
mod lists;
mod local_places;
mod places;
mod reply;
mod request;
mod settle;
mod traits;
mod value;
mod wrapper;

pub use self::{
    charge::{Charge, OwnedCharge, Refund},
    emulated::Emulated,
    error::{Effect, StorageError},
    lists::{ListEntry, ListFollower, ListStorage, ListSubscription},
    local_places::LocalPlaces,
    places::{HeldPlace, PlaceStorage, PlacesOf, Taken},
    reply::Reply,
    request::{ChargeRequest, OwnedChargeRequest},
    settle::{States, give_back, look, settle, settle_one},
    traits::{AtomicStorage, Scope, Storage},
    value::Value,
    wrapper::{StorageCall, Wrapper},
};
