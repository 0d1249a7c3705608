//! Types of [`RateThrottle`](crate::RateThrottle), and the version of `http` that its options use.
//!
//! Actix Web re-exports an older version of `http`, whose types cannot be used in the options.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # fn example() {
//! use ratethrottle::{RateThrottle, Rule, actix::http::Method};
//!
//! let throttle = RateThrottle::new(Rule::per_minute("login", 5)).methods([Method::POST]);
//! # }
//! ```

pub use throttle_actix::{RateThrottleService, ResponseFuture, http};
