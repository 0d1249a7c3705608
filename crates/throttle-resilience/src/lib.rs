//! What RateThrottle does when a storage is slow, fails, or is flooded: storages that wrap another.
//!
//! Each wraps any [`Storage`](throttle_core::Storage) and is one, so that they compose:
//!
//! | wrapper | what it does |
//! | --- | --- |
//! | [`Deadline`] | ends calls that take too long |
//! | [`CircuitBreaker`] | leaves a storage alone that fails too often |
//! | [`Leases`] | takes permits of hot keys in batches, and spends them here |
//! | [`Fallback`] | answers what the storage could not: refuses, lets pass, or decides locally |
//! | [`LocalDenials`] | refuses here what the storage has just refused |
//!
//! # The order
//!
//! From the storage outwards as in the table; [`Resilience`] composes them so. The deadline is within
//! the breaker, or the breaker would not see what is late: a call that its caller drops is not counted.
//! Leases are outside of both, which guard the calls for batches, so that what is held is spent while the
//! circuit is open. All of them are within the fallback, which answers for what any of them stops. Denials are outermost:
//! what is refused at hand costs nothing further in, and answers of the fallback are not kept.

mod before_and_after;
mod breaker;
mod deadline;
mod denials;
mod error;
mod fallback;
mod keyed;
mod leases;
mod observer;
mod resilience;
mod servers;
mod timer;

pub use self::{
    breaker::{Circuit, CircuitBreaker, CircuitChange, CircuitFigures, CircuitState},
    deadline::{Deadline, Deadlines},
    denials::{DenialFigures, LocalDenials},
    error::Error,
    fallback::{Fallback, FallbackChange, FallbackFigures, Mode, Modes},
    leases::{Accuracy, LeaseFigures, Leases, LeasesBuilder},
    resilience::{Resilience, ResilienceFigures, Resilient},
    servers::Servers,
};
