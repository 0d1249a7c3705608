//! The service, which checks a request and calls the inner service.

use std::{
    mem,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use http_body::Body;
use throttle_http::{Misconfigured, RequestHead, ResponseBody, Throttle};
use tower_service::Service;

use crate::future::ResponseFuture;

/// A service that limits its requests.
#[derive(Clone, Debug)]
pub struct RateThrottleService<S> {
    inner: S,
    throttle: Result<Arc<Throttle>, Misconfigured>,
    /// The bytes that are read from the body of a rejected request.
    max_drain: u64,
}

impl<S> RateThrottleService<S> {
    pub(crate) fn new(
        inner: S,
        throttle: Result<Arc<Throttle>, Misconfigured>,
        max_drain: u64,
    ) -> Self {
        Self { inner, throttle, max_drain }
    }
}

impl<S, B, R> Service<Request<B>> for RateThrottleService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let head = head_of(&request);
        let throttle = match &self.throttle {
            Ok(throttle) => throttle,
            Err(misconfigured) => {
                let response = misconfigured.respond(&head);
                return ResponseFuture::rejected(request, response, self.max_drain);
            }
        };
        match throttle.check(&head).into_ready() {
            Ok(Ok(pass)) => {
                let attached = pass.attach(request.extensions_mut());
                ResponseFuture::called(attached, self.inner.call(request))
            }
            Ok(Err(rejected)) => {
                let response = throttle.respond(rejected, &head);
                ResponseFuture::rejected(request, response, self.max_drain)
            }
            Err(pending) => {
                // Only the service that was polled is ready, so it must be the one to call. Its clone replaces it here.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                let throttle = Arc::clone(throttle);
                ResponseFuture::checking(pending, throttle, ready, request, self.max_drain)
            }
        }
    }
}

/// Returns the head of a request, with the address and the route that axum stores with it.
pub(crate) fn head_of<B>(request: &Request<B>) -> RequestHead<'_> {
    RequestHead::new(request, peer_of(request)).with_route(route_of)
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
    None // `RequestHead` also looks for it in the request's extensions
}
