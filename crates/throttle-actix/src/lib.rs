//! Rate limiting as a middleware of Actix Web.
//!
//! ```
//! use actix_web::{App, web};
//! # mod ratethrottle { pub use throttle_actix::*; pub use throttle_core::*; }
//! use ratethrottle::{RateThrottle, Rule};
//!
//! # #[cfg(feature = "memory")]
//! let app = App::new()
//!     .wrap(RateThrottle::new(Rule::per_minute("api", 100)))
//!     .route("/", web::get().to(|| async { "hello" }));
//! ```
//!
//! A *rule* is a limit, such as 100 requests a minute. The *middleware* wraps an app, a scope or a resource, checks
//! each request against the rules of its *limiter*, and answers a request that exceeds one with 429 (Too Many
//! Requests). Requests with the same *key*, by default the client address, share a limit. The result is a
//! *decision* for each rule.
//!
//! Handlers take the decisions as an argument, [`RateDecisions`], or read them from the extensions of the request,
//! as [`Decisions`](throttle_core::Decisions). With [`RateThrottle::response_extension`], they are also in the
//! extensions of the response, for outer middleware.
//!
//! The functions of the options use the types of [`http`] 1, which differ from those of `actix_web::http`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod convert;
mod future;
mod memory;
mod middleware;
mod service;
#[cfg(feature = "memory")]
mod workers;

pub use self::{future::ResponseFuture, middleware::RateThrottle, service::RateThrottleService};
pub use http;
pub use throttle_http::{LimitSource, NoDecisions, RateDecisions};
