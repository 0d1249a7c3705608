//! Storages that wrap another storage, to handle one that is slow, fails or is overloaded.
//!
//! Start with [`Resilience`](crate::Resilience), which combines them in the right order.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # fn example(shared: impl ratethrottle::Storage) {
//! use std::time::Duration;
//! use ratethrottle::{
//!     Limiter, MemoryStorage, Resilience,
//!     resilience::{CircuitBreakerConfig, FailureMode, FailureModes},
//! };
//!
//! // While the shared storage fails, each of three servers uses a third of the limit.
//! let modes = FailureModes::local(MemoryStorage::new(), 3).rule("login", FailureMode::FailClosed);
//! let storage = Resilience::new(shared)
//!     .deadline(Duration::from_millis(50))
//!     .breaker(CircuitBreakerConfig::new().open_duration(Duration::from_secs(1)))
//!     .failure_modes(modes)
//!     .build();
//! let limiter = Limiter::new(storage);
//! # }
//! ```

pub use throttle_resilience::{
    CircuitBreaker, CircuitBreakerConfig, CircuitChange, CircuitState, CircuitStats, Deadline,
    Deadlines, DenialCache, DenialCacheStats, Error, FailureMode, FailureModes, Fallback,
    FallbackChange, FallbackStats, Instances, LeaseBudget, LeaseStats, Leases, LeasesBuilder,
    ResilienceStats, Resilient,
};
