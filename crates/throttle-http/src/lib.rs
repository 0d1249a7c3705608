//! What rate limiting over HTTP needs and no framework owns.
//!
//! An adapter (`throttle-tower`, `throttle-actix`, or one for a framework of your own) makes a
//! [`RequestHead`] of a request and takes it through four steps:
//!
//! 1. [`Throttle::check`] decides: it returns a [`Pass`] or a [`Rejection`], at once or later.
//! 2. [`Pass::attach`] puts the decisions into the extensions of the request, for its handler.
//! 3. [`Attached::finish`] takes the [`ResponseHead`], charges what depends on it, and returns [`Done`].
//! 4. [`Done::write`] writes the header fields, and returns the [`BodyGuard`] to keep until the body of the
//!    response has ended.
//!
//! # Examples
//!
//! An adapter for a function that answers requests:
//!
//! ```
//! use std::{net::IpAddr, sync::Arc};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use throttle_http::{RequestHead, ResponseHead, Throttle};
//!
//! async fn limited(
//!     throttle: &Arc<Throttle>,
//!     peer: Option<IpAddr>,
//!     mut request: Request<Bytes>,
//!     handler: impl AsyncFnOnce(Request<Bytes>) -> Response<Bytes>,
//! ) -> Response<Bytes> {
//!     let pass = match throttle.check(&RequestHead::new(&request, peer)).await {
//!         Ok(pass) => pass,
//!         Err(rejection) => return rejection.into_response_to(request.method()),
//!     };
//!     let attached = pass.attach(request.extensions_mut());
//!     let mut response = handler(request).await;
//!     let head = ResponseHead::new(response.status(), response.headers());
//!     let Ok(done) = attached.finish(&head).await;
//!     let guard = done.write(&mut response);
//!     if let Some(guard) = &guard {
//!         guard.sent(response.body().len()); // a streamed body reports each chunk
//!     }
//!     drop(guard); // when the body has ended
//!     response
//! }
//! ```
//!
//! # Modules
//!
//! - [`identity`]: who is limited: client address, header, function, tuple
//! - [`outgoing`]: limits of the calls that a client makes
//! - [`Options`]: what every adapter lets users choose, under the same names
//! - [`Headers`]: which header fields show clients their limits
//! - [`ThrottleBuilder`]: a middleware before its first request
//! - [`ConfigWarning`]: what the log says of a configuration that looks wrong

#[expect(
    unused_extern_crates,
    reason = "the docs of the options name this crate, here and in adapters"
)]
extern crate self as throttle_http;

mod background;
mod builder;
mod config_error;
mod config_warning;
mod diagnostics;
mod extension_sink;
mod fields;
mod grpc;
mod head;
pub mod identity;
mod option_methods;
mod options;
pub mod outgoing;
mod picked_rules;
mod problem;
mod response_head;
mod throttle;

#[doc(hidden)]
pub use self::option_methods::macros;
pub use self::{
    builder::{LimitSource, ThrottleBuilder},
    config_error::ConfigError,
    config_warning::{ConfigWarning, RequestSample},
    extension_sink::ExtensionSink,
    fields::{HeaderSink, Headers, RateLimitHeader, ShortSecret, join_list},
    head::{RequestHead, RequestView},
    options::{
        ContentLength, Denial, ExtractCost, InvalidCost, InvalidPath, MissingLength, NoCost,
        OnError, Options,
    },
    picked_rules::{IntoRules, PickedRules},
    problem::{CONTENT_TYPE, QUOTA_EXCEEDED, REDUCED_CAPACITY},
    response_head::{ResponseHead, ResponseView},
    throttle::{
        ActualCost, Attached, BodyGuard, Call, Done, InFlight, KeptPlaces, LimitedFuture, Pass,
        Rejection, Throttle,
    },
};
