//! The service that delays the calls of a client.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use throttle_http::{
    ConfigError, RequestHead,
    outbound::{Dispatch, Dispatcher, OutboundError},
};
use tower_service::Service;

use crate::{BoxError, OutboundFuture};

/// A service that sends the calls of its inner client when their limits allow them.
#[derive(Clone, Debug)]
pub struct OutboundService<S> {
    inner: S,
    dispatcher: Result<Arc<Dispatcher>, ConfigError>,
}

impl<S> OutboundService<S> {
    pub(crate) fn new(inner: S, dispatcher: Result<Arc<Dispatcher>, ConfigError>) -> Self {
        Self { inner, dispatcher }
    }

    /// Returns the inner client.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner client, mutably.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Removes the limits, and returns the inner client.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for OutboundService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = OutboundFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let dispatcher = match &self.dispatcher {
            Ok(dispatcher) => dispatcher,
            Err(error) => return OutboundFuture::never(OutboundError::Config(error.clone())),
        };
        match dispatcher.acquire(&RequestHead::new(&request, None)) {
            Dispatch::Now(permit) => OutboundFuture::now(self.inner.call(request), permit),
            Dispatch::Never(not_sent) => OutboundFuture::never(not_sent),
            Dispatch::Wait(later) => {
                // Only the client that was polled is ready, so it must be the one to call. Its clone replaces it here.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                OutboundFuture::later(later, ready, request)
            }
        }
    }
}
