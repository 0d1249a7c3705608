//! Wrappers that keep a rate limiter available when its storage is slow, fails or is flooded.
//!
//! A *wrapper* is a storage around another storage. It implements
//! [`Storage`](throttle_core::Storage) itself, so wrappers can be nested:
//!
//! | wrapper | purpose |
//! | --- | --- |
//! | [`Deadline`] | ends calls that take too long |
//! | [`CircuitBreaker`] | stops calling a storage that fails too often |
//! | [`Leases`] | takes permits of hot keys in batches and spends them locally |
//! | [`Fallback`] | decides requests that the storage could not decide: it rejects, allows or counts locally |
//! | [`DenialCache`] | repeats recent denials without calling the storage |
//!
//! # Terms
//!
//! - A **deadline** is the time that one call may take. Use it around every storage on a network.
//!   It does not change results, but a late call may still have been carried out, and its charge
//!   counts.
//! - A **circuit breaker** counts failed calls. If too many of the latest calls failed, it *opens*
//!   and rejects calls at once. After a while it allows single probe calls, and closes when
//!   they succeed. Use it so that requests do not wait for a storage that is down. It does not
//!   change results.
//! - A **failure mode** is the behavior of a rule while the storage fails: fail closed (return the
//!   error), fail open (allow), or decide locally. The **fallback** applies it. Failing open
//!   enforces no limit. A local fallback enforces a share of the limit on each instance, so a
//!   client whose requests reach only one instance gets only that share.
//! - A **deferred charge** is a cost that the local fallback allowed. The fallback replays it to the storage after the
//!   outage, as far as it still counts and fits the limit.
//! - The **denial cache** remembers for up to a second that a key is denied. Use it against floods
//!   of one client. It only delays the effect of refunds, resets and rule changes made by other
//!   instances, by at most a second.
//! - A **lease** is a number of permits that an instance charges in one call and spends locally. The **lease budget**
//!   is the share of a limit that all leases together may hold. At most this share is rejected too early. Use leases
//!   for hot keys. They never allow more than the rule does.
//! - **Instances** are the processes of a service that share the storage and its limits. Leases and
//!   the local fallback divide by their number.
//!
//! # The order
//!
//! From the storage outwards, as in the table; [`Resilience`] composes them in this order:
//!
//! - The deadline is inside the breaker, so that the breaker sees late calls. A call that its
//!   caller drops is not counted.
//! - Leases are outside of both, which guard the calls that fetch batches. Permits already held can
//!   be spent while the circuit is open.
//! - The fallback is outside of these, because it decides when any of them fails.
//! - The denial cache is outermost. A cached denial costs nothing further in, and degraded
//!   decisions are not cached.

#![cfg_attr(docsrs, feature(doc_cfg))]

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
