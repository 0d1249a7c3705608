//! Concurrency limits: limits on the number of requests of a key that are in
//! flight at the same time.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # async fn example() -> Result<(), ratethrottle::Error> {
//! use ratethrottle::{Limiter, MemoryStorage, concurrency::ConcurrencyLimit};
//!
//! let limiter = Limiter::new(MemoryStorage::new());
//! let uploads: ConcurrencyLimit = limiter.concurrency("uploads", 5)?;
//! if let Some(permit) = uploads.try_acquire("user:42").await?.into_permit() {
//!     // … the upload …
//!     drop(permit); // the next upload may start
//! }
//! # Ok(()) }
//! ```

pub use throttle_core::{
    Acquired, ConcurrencyKey, ConcurrencyLimit, ConcurrencyPermit, ConcurrencyStorage,
    LocalPermits, PermitGuard, PermitReply,
};
#[cfg(any(feature = "tower", feature = "actix"))]
pub use throttle_http::{InFlight, InFlightGuard};
