//! RateThrottle as a middleware of Actix Web.
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
//! The decisions stand in the extensions of the request, where handlers read them through
//! [`RateDecisions`]; with [`RateThrottle::response_extension`] also in those of the response, for
//! middleware around this one, as [`Decisions`](throttle_core::Decisions).
//!
//! Functions among the options see the request as those of `throttle-tower` do, in the types of
//! [`http`] 1, which are not those of `actix_web::http`.

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
