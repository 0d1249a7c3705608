//! Types of the options of [`RateThrottleLayer`](crate::RateThrottleLayer) and
//! [`RateThrottle`](crate::RateThrottle), and their errors.
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "tower"))]
//! # fn example() {
//! use ratethrottle::{RateThrottleLayer, Rule, options::{ContentLength, OnMissingLength}};
//!
//! // The cost is the length of the body in KiB, or 1024 if the request does not declare its length.
//! let layer = RateThrottleLayer::new(Rule::per_hour("uploads", 10_240))
//!     .cost(ContentLength::in_kib().missing(OnMissingLength::Costs(1024)));
//! # }
//! ```

#[cfg(any(feature = "axum", feature = "actix"))]
pub use throttle_http::NoDecisions;
pub use throttle_http::{
    ActualCost, ConfigWarning, ContentLength, ExtractCost, IntoRules, InvalidCost, InvalidPath,
    LimitSource, NoCost, OnMissingLength, Options, PickedRules, RequestSample, ResponseHead,
    ShortSecret,
};
