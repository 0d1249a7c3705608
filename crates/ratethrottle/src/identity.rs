//! Keys of requests: requests with the same key share a limit.
//!
//! Start with [`ClientIp`](crate::ClientIp), which is the default, or [`Header`](crate::Header).
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "tower"))]
//! # fn example() {
//! use ratethrottle::{
//!     ClientIp, Header, RateThrottleLayer, Rule,
//!     identity::{OnMissing, RoutePattern},
//! };
//!
//! // By API key and route; without an API key, by client address and route.
//! let api_key = Header::new("x-api-key").missing(OnMissing::ClientIp(ClientIp::new()));
//! let layer = RateThrottleLayer::new(Rule::per_minute("api", 100)).key((api_key, RoutePattern));
//! # }
//! ```

pub use throttle_http::identity::{
    AsyncKey, Cookie, ExtractKey, ForwardedHeader, Global, IntoKey, IntoKeyWithRules, InvalidKey,
    InvalidProxy, KeyError, KeyFuture, KeyWithRules, NoKey, OnMissing, RequestHost, RequestMethod,
    RequestPath, RoutePattern, TrustedProxies,
};
