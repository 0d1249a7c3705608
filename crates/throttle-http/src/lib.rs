//! What rate limiting over HTTP needs and no framework owns.
//!
//! An adapter (`throttle-tower`, `throttle-actix`, or one for a framework of your own) makes a
//! [`RequestHead`] of a request and takes it through four steps:
//!
//! 1. [`Throttle::check`] decides: it returns a [`Pass`] or a [`Rejection`], at once or later.
//! 2. [`Pass::attach`] puts the decisions into the extensions of the request, for its handler.
//! 3. [`Attached::finish`] takes the [`ResponseHead`], charges what depends on it, and returns [`Done`].
//! 4. [`Done::write`] writes the header fields. Where it returns a [`BodyGuard`], keep that until the body of
//!    the response has ended.
//!
//! # Examples
//!
//! All of an adapter, for a function that answers requests:
//!
//! ```
//! use std::{net::IpAddr, sync::Arc};
//! use http::{Request, Response};
//! use throttle_http::{RequestHead, ResponseBody, ResponseHead, Throttle};
//!
//! async fn limited<B, R>(
//!     throttle: &Arc<Throttle>,
//!     peer: Option<IpAddr>,
//!     mut request: Request<B>,
//!     handler: impl AsyncFnOnce(Request<B>) -> Response<R>,
//! ) -> Response<ResponseBody<R>> {
//!     let pass = match throttle.check(&RequestHead::new(&request, peer)).await {
//!         Ok(pass) => pass,
//!         Err(rejection) => {
//!             return rejection.into_response_to(request.method()).map(ResponseBody::rejection);
//!         }
//!     };
//!     let attached = pass.attach(request.extensions_mut());
//!     let mut response = handler(request).await;
//!     let head = ResponseHead::new(response.status(), response.headers());
//!     let Ok(done) = attached.finish(&head).await;
//!     let guard = done.write(&mut response);
//!     response.map(|body| ResponseBody::inner(body, guard))
//! }
//! # fn is_send(_: impl Send) {}
//! # fn can_be_spawned(throttle: &Arc<Throttle>) {
//! #     let request = Request::new(std::cell::Cell::new(1));
//! #     is_send(limited(throttle, None, request, async |_| Response::new("")));
//! # }
//! ```
//!
//! `throttle_testkit::http::Adapter` has the same with its test.
//!
//! # What an adapter sees to
//!
//! - **The peer** is the address of the connection, never what a header field says: options say which
//!   proxies are trusted.
//! - **A rejection** is a response, not an error. Keep its header fields, extensions and length, and do not
//!   call the handler. To `HEAD` it has no body: [`Rejection::into_response_to`].
//! - **The body of a rejected request** is read for a while, in a task, by [`drain_body`] or by the server itself.
//!   Else a client that is still sending sees a reset instead of the rejection.
//! - **Errors of handlers** that the framework turns into responses become responses before
//!   [`Attached::finish`], which else does not see their status, so that `charge_if` cannot decide. An error that
//!   closes the connection is returned: drop what you hold.
//! - **The guard** is dropped with the last piece of the body, or where the body fails, although the body
//!   itself may live on; and with the body, if the client leaves before that. Each piece is reported to
//!   [`BodyGuard::sent`]. [`ResponseBody`] does this for bodies of the crate `http-body`. In a
//!   framework that loses the length of a body when it boxes it, wrap bodies only where there is a guard.
//! - **A middleware that cannot report errors** when it is made takes a [`ThrottleBuilder`]. Ask it for
//!   [`throttle_or_log`](ThrottleBuilder::throttle_or_log) once, and answer requests by
//!   [`Rejection::misconfigured`] if there is none.
//!
//! If the caller goes away, drop what you hold: each of the four undoes or completes its part when it is
//! dropped.
//!
//! # Frameworks with types of their own
//!
//! | the framework has | use |
//! | --- | --- |
//! | `http::Request` | [`RequestHead::new`] |
//! | a request of its own, made of `http::Method`, `http::HeaderMap` and so on | [`RequestHead::from_parts`] |
//! | other types | [`RequestView`] and [`RequestHead::from_view`] |
//! | a router that decodes paths before it matches them | [`RequestView::path`], which returns the decoded path |
//! | patterns of routes, in the extensions of the request | [`RequestHead::with_route`] |
//! | patterns of routes elsewhere | [`RequestView::route`]; [`Throttle::wants_route`] says whether one is asked for |
//! | other extensions than `http::Extensions` | [`ExtensionSink`] for [`Pass::attach`] |
//! | a response of its own, with `http::HeaderMap` | [`ResponseHead::new`] and [`Done::write_to`]; insert the decisions that it returns into the extensions of the response |
//! | other header fields in responses | [`ResponseView`], and [`HeaderSink`] for [`Done::write_to`] |
//! | bodies that are not of the crate `http-body` | a body of its own that holds the [`BodyGuard`] |
//! | middleware that is a future of its own, as in Tower and Actix | [`LimitedFuture`] and [`Call`] |
//!
//! # Modules
//!
//! - [`identity`]: who is limited: client address, header, function, tuple
//! - [`outbound`]: limits of the calls that a client makes
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
mod drain;
mod extension_sink;
mod fields;
mod grpc;
mod head;
pub mod identity;
mod option_methods;
mod options;
pub mod outbound;
mod picked_rules;
mod problem;
mod response_body;
mod response_head;
mod throttle;

#[doc(hidden)]
pub use self::option_methods::macros;
pub use self::{
    builder::{LimitSource, ThrottleBuilder},
    config_error::ConfigError,
    config_warning::{ConfigWarning, RequestSample},
    drain::drain_body,
    extension_sink::ExtensionSink,
    fields::{HeaderSink, Headers, RateLimitHeader, ShortSecret, join_list},
    head::{RequestHead, RequestView},
    options::{
        ContentLength, Denial, ExtractCost, InvalidCost, InvalidPath, NoCost, OnError,
        OnMissingLength, Options,
    },
    picked_rules::{IntoRules, PickedRules},
    problem::{CONTENT_TYPE, QUOTA_EXCEEDED, REDUCED_CAPACITY},
    response_body::ResponseBody,
    response_head::{ResponseHead, ResponseView},
    throttle::{
        ActualCost, Attached, BodyGuard, Call, Done, InFlight, InFlightGuard, LimitedFuture, Pass,
        Rejection, Throttle,
    },
};
