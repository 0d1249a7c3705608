//! The client with limits in front of it.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use throttle_http::{
    ConfigError, RequestHead,
    outgoing::{Departure, Departures, NotSent},
};
use tower_service::Service;

use crate::{BoxError, OutgoingFuture};

/// Sends the calls of the client within when their limits allow.
#[derive(Clone, Debug)]
pub struct OutgoingService<S> {
    inner: S,
    departures: Result<Arc<Departures>, Arc<ConfigError>>,
}

impl<S> OutgoingService<S> {
    pub(crate) fn new(inner: S, departures: Result<Arc<Departures>, Arc<ConfigError>>) -> Self {
        Self { inner, departures }
    }
}

impl<S, B, R> Service<Request<B>> for OutgoingService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = OutgoingFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let departures = match &self.departures {
            Ok(departures) => departures,
            Err(error) => return OutgoingFuture::never(NotSent::Config(Arc::clone(error))),
        };
        match departures.depart(&RequestHead::new(&request, None)) {
            Departure::Now(permit) => OutgoingFuture::now(self.inner.call(request), permit),
            Departure::Never(not_sent) => OutgoingFuture::never(not_sent),
            Departure::Later(later) => {
                // The one that was polled ready is the one to call; its clone takes its place here.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                OutgoingFuture::later(later, ready, request)
            }
        }
    }
}
