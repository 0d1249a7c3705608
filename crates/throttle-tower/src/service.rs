//! The service: asks, and calls the inner one at once if it may.

use std::{
    mem,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use throttle_core::Decisions;
use throttle_http::{Admission, Protocol, RequestHead, Throttle, Verdict, look_at_nested};
use tower_service::Service;

use crate::{ResponseBody, ResponseFuture};

/// Limits the requests of the service within.
#[derive(Clone, Debug)]
pub struct RateThrottleService<S> {
    inner: S,
    /// None when the layer could not be built.
    throttle: Option<Arc<Throttle>>,
}

impl<S> RateThrottleService<S> {
    pub(crate) fn new(inner: S, throttle: Option<Arc<Throttle>>) -> Self {
        Self { inner, throttle }
    }
}

impl<S, B, R> Service<Request<B>> for RateThrottleService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(throttle) = &self.throttle else {
            let refusal = Throttle::misconfigured_for(Protocol::of(&request));
            return ResponseFuture::refused(request.method(), refusal);
        };
        let head = RequestHead::new(&request, peer_of(&request)).with_route(route_of);
        let reply = match throttle.admit(&head) {
            Admission::Exempt => return ResponseFuture::exempt(self.inner.call(request)),
            Admission::Refused(refusal) => {
                return ResponseFuture::refused(request.method(), refusal);
            }
            Admission::Undecided(marks) => {
                return ResponseFuture::passed(self.inner.call(request), marks);
            }
            Admission::Asked(reply) => reply,
            Admission::Followed(followed) => {
                let entry = throttle.follow(followed);
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                return ResponseFuture::entering(entry, ready, request);
            }
        };
        match reply.into_ready() {
            Ok(answer) => match throttle.judge_for(|| Protocol::of(&request), answer) {
                Verdict::Passed(decisions) => {
                    let marks = throttle.marks(&decisions);
                    leave(request.extensions_mut(), decisions);
                    ResponseFuture::passed(self.inner.call(request), marks)
                }
                Verdict::Undecided(marks) => {
                    ResponseFuture::passed(self.inner.call(request), marks)
                }
                Verdict::Refused(refusal) => ResponseFuture::refused(request.method(), refusal),
            },
            Err(pending) => {
                // The one that was polled ready is the one to call; its clone takes its place here.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::asking(pending, ready, request, Arc::clone(throttle))
            }
        }
    }
}

/// Leaves the decisions for the handler.
pub(crate) fn leave(extensions: &mut Extensions, decisions: Decisions) {
    if let (Some(outer), Some(inner)) = (extensions.insert(decisions), extensions.get()) {
        look_at_nested(&outer, inner);
    }
}

#[cfg(feature = "axum")]
fn peer_of<B>(request: &Request<B>) -> Option<IpAddr> {
    use std::net::SocketAddr;

    use axum::extract::{ConnectInfo, connect_info::MockConnectInfo};

    let extensions = request.extensions();
    let info = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    info.or_else(|| extensions.get::<MockConnectInfo<SocketAddr>>().map(|info| info.0.ip()))
}

#[cfg(feature = "axum")]
fn route_of(extensions: &Extensions) -> Option<&str> {
    extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
fn route_of(_: &Extensions) -> Option<&str> {
    None
}

#[cfg(not(feature = "axum"))]
fn peer_of<B>(_: &Request<B>) -> Option<IpAddr> {
    None // the request's extensions may have it: RequestHead looks there
}
