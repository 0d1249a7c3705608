//! Rate limiting as a Tower layer, for Axum, hyper, tonic and every other HTTP service.
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
//! A *rule* is a limit, such as 100 requests a minute. A *layer* wraps a service, checks each request against the
//! rules of its *limiter*, and answers a request that exceeds one with 429 (Too Many Requests). Requests with the
//! same *key*, by default the client address, share a limit. The result is a *decision* for each rule.
//!
//! - [`RateThrottleLayer`]: the layer and its options
//! - [`OutboundLimiter`]: a layer that delays the calls of a client
//!
//! Handlers read the decisions from the extensions of the request, as
//! [`Decisions`](throttle_core::Decisions), or in axum as an argument, `RateDecisions`. With
//! [`RateThrottleLayer::response_extension`], they are also in the extensions of the response, for outer layers.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod future;
mod head;
mod layer;
mod memory;
mod outbound;
mod rejection;
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

/// The error of an outbound call; see [`OutboundLimiter`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
