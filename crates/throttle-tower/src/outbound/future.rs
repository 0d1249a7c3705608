//! The future of a call.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use throttle_http::outbound::{OutboundError, OutboundPermit, OutboundWait};
use tower_service::Service;

use crate::BoxError;

pin_project! {
    /// The future of a call: the response of the inner client, or the reason why the call was not sent.
    pub struct OutboundFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        /// The call waits. Boxed, so that the future of other calls stays small.
        Waiting { waiting: Box<Waiting<S, B>> },
        Sent {
            #[pin]
            future: S::Future,
            permit: Option<OutboundPermit>,
        },
        Never { not_sent: Option<OutboundError> },
    }
}

struct Waiting<S, B> {
    later: OutboundWait,
    /// The client, which is ready, and the request to send.
    call: Option<(S, Request<B>)>,
}

impl<S, B> OutboundFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(crate) fn now(future: S::Future, permit: OutboundPermit) -> Self {
        Self { state: State::Sent { future, permit: Some(permit) } }
    }

    pub(crate) fn later(later: OutboundWait, ready: S, request: Request<B>) -> Self {
        let waiting = Box::new(Waiting { later, call: Some((ready, request)) });
        Self { state: State::Waiting { waiting } }
    }

    pub(crate) fn never(not_sent: OutboundError) -> Self {
        Self { state: State::Never { not_sent: Some(not_sent) } }
    }
}

impl<S, B, R> Future for OutboundFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Waiting { waiting } => {
                    let permit = ready!(Pin::new(&mut waiting.later).poll(cx));
                    match (permit, waiting.call.take()) {
                        (Ok(permit), Some((mut ready, request))) => {
                            State::Sent { future: ready.call(request), permit: Some(permit) }
                        }
                        (Err(not_sent), _) => State::Never { not_sent: Some(not_sent) },
                        (Ok(_), None) => return Poll::Pending, // polled again after its end
                    }
                }
                StateProjection::Sent { future, permit } => {
                    let response = ready!(future.poll(cx)).map_err(Into::into)?;
                    if let Some(permit) = permit.take() {
                        permit.observe_response(response.status(), response.headers());
                    }
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Never { not_sent } => {
                    return match not_sent.take() {
                        Some(not_sent) => Poll::Ready(Err(not_sent.into())),
                        None => Poll::Pending, // polled again after its end
                    };
                }
            };
            state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for OutboundFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Waiting { .. } => "OutboundFuture(waiting)",
            State::Sent { .. } => "OutboundFuture(sent)",
            State::Never { .. } => "OutboundFuture(never)",
        })
    }
}
