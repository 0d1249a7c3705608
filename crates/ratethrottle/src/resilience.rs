//! Storages that wrap a storage, for one that is slow, fails or is flooded.
//!
//! Start with [`Resilience`](crate::Resilience), which composes them in the right order.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # fn example(shared: impl ratethrottle::Storage) {
//! use std::time::Duration;
//! use ratethrottle::{
//!     Limiter, MemoryStorage, Resilience,
//!     resilience::{Circuit, Mode, Modes},
//! };
//!
//! // While the shared storage fails, each of three servers decides by a third of the limit.
//! let modes = Modes::local(MemoryStorage::new(), 3).rule("login", Mode::Closed);
//! let storage = Resilience::new(shared)
//!     .deadline(Duration::from_millis(50))
//!     .breaker(Circuit::new().open_for(Duration::from_secs(1)))
//!     .mode(modes)
//!     .build();
//! let limiter = Limiter::new(storage);
//! # }
//! ```

pub use throttle_resilience::{
    Accuracy, Circuit, CircuitBreaker, CircuitChange, CircuitFigures, CircuitState, Deadline,
    Deadlines, DenialFigures, Error, Fallback, FallbackChange, FallbackFigures, LeaseFigures,
    Leases, LeasesBuilder, LocalDenials, Mode, Modes, ResilienceFigures, Resilient, Servers,
};
