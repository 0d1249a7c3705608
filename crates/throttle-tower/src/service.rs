//! The service, which checks a request and calls the inner service.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use throttle_http::{Attached, Misconfigured, ResponseBody, Throttle};
use tower_service::Service;

use crate::{future::ResponseFuture, head::head_of};

/// A service that limits its requests.
#[derive(Clone, Debug)]
pub struct RateThrottleService<S> {
    inner: S,
    /// `None` if the limits are disabled.
    throttle: Result<Option<Arc<Throttle>>, Misconfigured>,
    /// The bytes that are read from the body of a rejected request.
    max_drain: u64,
}

impl<S> RateThrottleService<S> {
    pub(crate) fn new(
        inner: S,
        throttle: Result<Option<Arc<Throttle>>, Misconfigured>,
        max_drain: u64,
    ) -> Self {
        Self { inner, throttle, max_drain }
    }

    /// Returns the inner service.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service, mutably.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Removes the limits, and returns the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
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
        let throttle = match &self.throttle {
            Ok(Some(throttle)) => throttle,
            Ok(None) => {
                return ResponseFuture::called(Attached::default(), self.inner.call(request));
            }
            Err(misconfigured) => {
                let response = misconfigured.respond(&head_of(&request));
                return ResponseFuture::rejected(request, response, self.max_drain);
            }
        };
        let head = head_of(&request);
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
