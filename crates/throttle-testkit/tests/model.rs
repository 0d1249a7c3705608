//! Compares storages with a simple, exact model, and with the bounds in the documentation.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "model/clients.rs"]
mod clients;
#[path = "model/exact.rs"]
mod exact;
#[path = "model/histories.rs"]
mod histories;
#[path = "model/most.rs"]
mod most;
#[path = "model/six.rs"]
mod six;
#[path = "model/worlds.rs"]
mod worlds;
