//! Limits of requests in flight: how many of a key are served at once.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # async fn example() -> Result<(), ratethrottle::Error> {
//! use ratethrottle::{Limiter, MemoryStorage, concurrency::ConcurrencyLimit};
//!
//! let limiter = Limiter::new(MemoryStorage::new());
//! let uploads: ConcurrencyLimit = limiter.concurrency("uploads", 5)?;
//! if let Some(place) = uploads.try_acquire("user:42").await?.into_permit() {
//!     // … the upload …
//!     drop(place); // the next one may begin
//! }
//! # Ok(()) }
//! ```

pub use throttle_core::{
    Acquired, ConcurrencyKey, ConcurrencyLimit, ConcurrencyPermit, ConcurrencyStorage,
    LocalPermits, PermitGuard, PermitReply,
};
#[cfg(any(feature = "tower", feature = "actix"))]
pub use throttle_http::{InFlight, InFlightGuard};
