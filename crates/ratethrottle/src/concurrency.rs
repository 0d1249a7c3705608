//! Limits of requests in flight: how many of a key are served at once.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # async fn example() -> Result<(), ratethrottle::Error> {
//! use ratethrottle::{Limiter, MemoryStorage, concurrency::Concurrency};
//!
//! let limiter = Limiter::new(MemoryStorage::new());
//! let uploads: Concurrency = limiter.concurrency("uploads", 5)?;
//! if let Some(place) = uploads.enter("user:42").await?.into_place() {
//!     // … the upload …
//!     drop(place); // the next one may begin
//! }
//! # Ok(()) }
//! ```

pub use throttle_core::{
    Concurrency, Entered, HeldPlace, LocalPlaces, Place, PlaceStorage, PlacesOf, Taken,
};
#[cfg(any(feature = "tower", feature = "actix"))]
pub use throttle_http::{InFlight, KeptPlaces};
