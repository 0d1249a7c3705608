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
//! | [`DenialCache`] | refuses here what the storage has just refused |
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
mod denial_cache;
mod error;
mod fallback;
mod instances;
mod keyed;
mod leases;
mod observer;
mod resilience;
mod timer;

pub use self::{
    breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitChange, CircuitState, CircuitStats},
    deadline::{Deadline, Deadlines},
    denial_cache::{DenialCache, DenialCacheStats},
    error::Error,
    fallback::{FailureMode, FailureModes, Fallback, FallbackChange, FallbackStats},
    instances::Instances,
    leases::{LeaseBudget, LeaseStats, Leases, LeasesBuilder},
    resilience::{Resilience, ResilienceStats, Resilient},
};
