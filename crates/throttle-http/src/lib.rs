//! Rate limiting over HTTP, without a framework: keys, options, header fields and rejections.
//!
//! Most users need an adapter instead: `throttle-tower` for Axum and Tower, `throttle-actix` for Actix Web, or the
//! crate `ratethrottle`, which contains both. This crate is for writing an adapter for another framework.
//!
//! A [`Throttle`] is a limiter with its [`Options`]. It reads the *head* of a request, finds the *key* that the
//! request counts for, and checks the *rules* of the limiter. A *decision* is the result of one rule; a request
//! is allowed if all rules allow it. A rejected request gets a *rejection*, a response such as 429 (Too Many
//! Requests), and its handler is not called.
//!
//! # The four steps of an adapter
//!
//! 1. [`Throttle::check`] checks a [`RequestHead`]. It returns a [`Pass`] or [`Rejected`].
//! 2. [`Pass::attach`] inserts the decisions into the extensions of the request, for its handler. Call the
//!    handler next.
//! 3. [`Attached::finish`] adjusts the charge to the [`ResponseHead`], and returns [`Done`].
//! 4. [`Done::write`] writes the header fields. If it returns a [`BodyGuard`], keep it until the body of the
//!    response has ended.
//!
//! # Examples
//!
//! A whole adapter, for a function that handles requests:
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
//!         Err(rejected) => {
//!             let response = throttle.respond(rejected, &RequestHead::new(&request, peer));
//!             return response.map(ResponseBody::rejection);
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
//! `throttle_testkit::http::Adapter` has the same code with its test.
//!
//! # Requirements for an adapter
//!
//! - **Peer**: pass the address of the connection, never one from a header field. Options set which proxies are
//!   trusted.
//! - **Rejections**: a rejection is a response, not an error. Keep its header fields, extensions and length,
//!   and do not call the handler. [`Throttle::respond`] builds it.
//! - **Bodies of rejected requests**: read the body for a while in a task, with [`drain_body`], unless the
//!   server does. Otherwise a client that is still sending sees a connection reset instead of the rejection.
//! - **Errors of handlers**: if the framework converts errors to responses, do so before [`Attached::finish`],
//!   which otherwise does not see the status for `charge_if`. If an error closes the connection, return it and
//!   drop the [`Attached`].
//! - **The guard**: drop it with the last piece of the body, or when the body fails, even if the body itself
//!   lives longer. If the client disconnects first, drop it with the body. Report each piece to
//!   [`BodyGuard::sent`]. [`ResponseBody`] does this for bodies of the crate `http-body`. If boxing a body
//!   loses its length in your framework, wrap a body only if there is a guard.
//! - **Configuration errors**: if a middleware cannot return an error when it is created, keep a
//!   [`ThrottleBuilder`] in it. Call [`throttle_or_log`](ThrottleBuilder::throttle_or_log) once. If it fails,
//!   answer requests with [`Misconfigured::respond`]; if it returns `None`, the limits are disabled.
//!
//! If a request is cancelled, drop the value of the current step. Its destructor undoes or completes the step.
//!
//! # Frameworks with their own types
//!
//! | the framework has | use |
//! | --- | --- |
//! | `http::Request` | [`RequestHead::new`] |
//! | its own request, with `http::Method`, `http::HeaderMap` and so on | [`RequestHead::from_parts`] |
//! | other types | [`RequestView`] and [`RequestHead::from_view`] |
//! | a router that decodes paths before it matches them | [`RequestView::path`], which returns the decoded path |
//! | route patterns in the extensions of the request | [`RequestHead::with_route`] |
//! | route patterns elsewhere | [`RequestView::route`]; [`Throttle::wants_route`] returns whether the pattern is needed |
//! | extensions other than `http::Extensions` | [`ExtensionSink`] for [`Pass::attach`] |
//! | its own response, with `http::HeaderMap` | [`ResponseHead::new`] and [`Done::write_to`]; insert the decisions that it returns into the extensions of the response |
//! | other header fields in responses | [`ResponseView`], and [`HeaderSink`] for [`Done::write_to`] |
//! | bodies that are not of the crate `http-body` | its own body type that contains the [`BodyGuard`] |
//! | middleware that returns a named future, as in Tower and Actix | [`LimitedFuture`] and [`Call`] |
//!
//! # Modules
//!
//! - [`identity`]: keys: client address, header field, cookie, function, tuple
//! - [`outbound`]: limits of the calls that a client makes
//! - [`Options`]: the options of every adapter, with the same names
//! - [`Headers`]: the header fields that show clients their limits
//! - [`ThrottleBuilder`]: a limiter and its options, before they are built
//! - [`ConfigWarning`]: warnings about a configuration that is probably wrong

#![cfg_attr(docsrs, feature(doc_cfg))]

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
mod rate_decisions;
mod rejection;
mod response_body;
mod response_head;
mod throttle;

#[doc(hidden)]
pub use self::option_methods::macros;
pub use self::{
    builder::{LimitSource, Misconfigured, ThrottleBuilder},
    config_error::ConfigError,
    config_warning::{ConfigWarning, RequestSample},
    drain::drain_body,
    extension_sink::ExtensionSink,
    fields::{HeaderSink, Headers, RateLimitHeader, ShortSecret, join_list},
    head::{RequestHead, RequestView},
    options::{
        ContentLength, ExtractCost, InvalidCost, InvalidPath, NoCost, OnError, OnMissingLength,
        Options,
    },
    picked_rules::{IntoRules, PickedRules},
    problem::{CONTENT_TYPE, QUOTA_EXCEEDED, REDUCED_CAPACITY},
    rate_decisions::{NoDecisions, RateDecisions},
    rejection::{Rejected, Rejection, RejectionReason},
    response_body::ResponseBody,
    response_head::{ResponseHead, ResponseView},
    throttle::{
        ActualCost, Attached, BodyGuard, Call, Done, InFlight, InFlightGuard, LimitedFuture, Pass,
        Throttle,
    },
};
