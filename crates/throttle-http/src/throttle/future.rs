//! The state machine of a limited request, for adapters whose middleware returns a future.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use throttle_core::Reply;

use super::{
    after::done::Done,
    pass::{Attached, Pass},
};
use crate::rejection::Rejected;

/// A call of the inner service that is prepared but not made yet: the parts of a [`LimitedFuture`] that depend
/// on the framework.
pub trait Call {
    /// The future of the inner service.
    type Future: Future<Output = Result<Self::Inner, Self::Error>>;
    /// The response of the inner service.
    type Inner;
    /// The final response: the inner response with its header fields, or a rejection.
    type Response;
    /// The error of the inner service.
    type Error;

    /// Calls the inner service, after [attaching](Pass::attach) the pass to the request.
    fn call(self, pass: Pass) -> (Attached, Self::Future);

    /// Returns the response to a rejected request.
    fn reject(self, rejected: Rejected) -> Self::Response;

    /// Finishes the request with the head of the response; see [`Attached::finish`].
    fn finish(attached: Attached, response: &Self::Inner) -> Reply<Done, Infallible>;

    /// Writes the header fields, and wraps the body with its guard; see [`Done::write`].
    fn respond(done: Done, response: Self::Inner) -> Self::Response;
}

pin_project! {
    /// The future of a limited request: it waits for the decision, calls the inner service, and finishes the response.
    ///
    /// It does not allocate if the decision is ready and the response does not change the charge.
    pub struct LimitedFuture<C: Call> {
        #[pin]
        state: State<C>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<C: Call> {
        /// The decision is pending. Boxed, so that the future of other requests stays small.
        Checking { checking: Box<(Reply<Pass, Rejected>, Option<C>)> },
        /// The inner service was called.
        Called {
            #[pin]
            future: C::Future,
            attached: Option<Attached>,
        },
        /// The charge is being refunded or reconciled, before the response is sent.
        Finishing { finishing: Box<(Reply<Done, Infallible>, Option<C::Inner>)> },
        /// The response is ready: a rejection, or a response after its charge has changed.
        Ended { response: Option<C::Response> },
    }
}

impl<C: Call> LimitedFuture<C> {
    /// Creates the future of a request with a pending decision.
    pub fn checking(check: Reply<Pass, Rejected>, call: C) -> Self {
        Self { state: State::Checking { checking: Box::new((check, Some(call))) } }
    }

    /// Creates the future of an allowed request, whose inner service was called.
    #[inline]
    pub fn called(attached: Attached, future: C::Future) -> Self {
        Self { state: State::Called { future, attached: Some(attached) } }
    }

    /// Creates the future of a rejected request.
    #[inline]
    pub fn rejected(response: C::Response) -> Self {
        Self { state: State::Ended { response: Some(response) } }
    }
}

impl<C: Call> Future for LimitedFuture<C> {
    type Output = Result<C::Response, C::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            // The values that are taken below are `None` if this is polled again after its end; it then stays pending.
            let next = match state.as_mut().project() {
                StateProjection::Checking { checking } => {
                    let (check, call) = &mut **checking;
                    let checked = ready!(Pin::new(check).poll(cx));
                    let Some(call) = call.take() else { return Poll::Pending };
                    match checked {
                        Ok(pass) => {
                            let (attached, future) = call.call(pass);
                            State::Called { future, attached: Some(attached) }
                        }
                        Err(rejected) => State::Ended { response: Some(call.reject(rejected)) },
                    }
                }
                StateProjection::Called { future, attached } => {
                    if attached.is_none() {
                        return Poll::Pending;
                    }
                    let response = ready!(future.poll(cx))?;
                    let attached = attached.take().unwrap_or_default();
                    // Most requests end here, without reading the head of the response.
                    let attached = match attached.into_done() {
                        Ok(done) => return Poll::Ready(Ok(C::respond(done, response))),
                        Err(attached) => attached,
                    };
                    match C::finish(attached, &response).into_ready() {
                        Ok(Ok(done)) => return Poll::Ready(Ok(C::respond(done, response))),
                        Err(pending) => {
                            State::Finishing { finishing: Box::new((pending, Some(response))) }
                        }
                    }
                }
                StateProjection::Finishing { finishing } => {
                    let (finish, response) = &mut **finishing;
                    let Ok(done) = ready!(Pin::new(finish).poll(cx));
                    let Some(response) = response.take() else { return Poll::Pending };
                    State::Ended { response: Some(C::respond(done, response)) }
                }
                StateProjection::Ended { response } => {
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(response));
                }
            };
            state.set(next);
        }
    }
}

impl<C: Call> fmt::Debug for LimitedFuture<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Checking { .. } => "checking",
            State::Called { .. } => "called",
            State::Finishing { .. } => "finishing",
            State::Ended { .. } => "ended",
        })
    }
}
