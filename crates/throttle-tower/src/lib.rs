//! RateThrottle as a Tower layer, for Axum, hyper and every other http service.
//!
//! ```
//! use axum::{Router, routing::get};
//! # mod ratethrottle { pub use throttle_core::*; pub use throttle_tower::*; }
//! use ratethrottle::{RateThrottleLayer, Rule};
//!
//! # #[cfg(feature = "memory")]
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(RateThrottleLayer::new(Rule::per_minute("api", 100)));
//! ```
//!
//! The decisions stand in the extensions of the request, for handlers, as
//! [`Decisions`](throttle_core::Decisions); with [`RateThrottleLayer::response_extension`] in those of
//! the response too, for layers around this one.

mod future;
mod layer;
mod memory;
mod outbound;
mod service;

pub use self::{
    future::ResponseFuture,
    layer::RateThrottleLayer,
    outbound::{OutboundFuture, OutboundLimiter, OutboundService},
    service::RateThrottleService,
};
pub use throttle_http::{
    LimitSource, ResponseBody,
    outbound::{OutboundError, OutboundPermit},
};

#[cfg(feature = "axum")]
pub use throttle_http::{NoDecisions, RateDecisions};

/// Is what a call can fail with; see [`OutboundLimiter`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
