//! Types of [`RateThrottleLayer`](crate::RateThrottleLayer), for code that names them.
//!
//! ```
//! use ratethrottle::{RateThrottleLayer, tower::RateThrottleService};
//! use tower::Layer;
//!
//! struct Client<S> {
//!     limited: RateThrottleService<S>,
//! }
//!
//! impl<S> Client<S> {
//!     fn new(inner: S, layer: &RateThrottleLayer) -> Self {
//!         Self { limited: layer.layer(inner) }
//!     }
//! }
//! ```

pub use throttle_tower::{RateThrottleService, ResponseBody, ResponseFuture};
