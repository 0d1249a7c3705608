//! The future of a limited request; nothing in it is boxed where the decision was ready.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::{
    HttpMessage,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse},
};
use pin_project_lite::pin_project;
use throttle_core::{Decisions, Error, Reply};
use throttle_http::{Departure, Entry, Exit, Leaving, Marks, Throttle, Verdict};

use crate::{body, convert, service::Eithers};

pin_project! {
    /// Answers with the inner service's response, or with a refusal.
    pub struct ThrottledFuture<S, B>
    where
        S: Service<ServiceRequest>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<ServiceRequest>,
    {
        /// The storage is being asked; boxed, so that requests decided at once stay small.
        Asking { asking: Box<Asking<S>> },
        /// The inner service is at work.
        Passed {
            #[pin]
            future: S::Future,
            marks: Option<Marks>,
        },
        Refused { response: Option<Eithers<B>> },
        /// The request waits for its turn; boxed, as few requests do.
        Entering { entering: Box<Entering<S>> },
        /// The inner service is at work, and something is to be done when it has answered.
        Followed {
            #[pin]
            future: S::Future,
            exit: Option<Box<Exit>>,
        },
        /// The charge is being given back, or settled.
        Leaving { leaving: Box<(Leaving, Option<S::Response>)> },
    }
}

struct Asking<S> {
    reply: Reply<Decisions, Error>,
    /// The inner service, and what to call it with.
    call: Option<(Rc<S>, ServiceRequest)>,
    throttle: Arc<Throttle>,
}

struct Entering<S> {
    entry: Entry,
    /// The inner service, and what to call it with.
    call: Option<(Rc<S>, ServiceRequest)>,
}

impl<S, B> ThrottledFuture<S, B>
where
    S: Service<ServiceRequest>,
{
    pub(crate) fn exempt(future: S::Future) -> Self {
        Self { state: State::Passed { future, marks: None } }
    }

    pub(crate) fn passed(future: S::Future, marks: Marks) -> Self {
        Self { state: State::Passed { future, marks: Some(marks) } }
    }

    pub(crate) fn refused(response: ServiceResponse) -> Self {
        Self { state: State::Refused { response: Some(response.map_into_right_body()) } }
    }

    pub(crate) fn entering(entry: Entry, inner: Rc<S>, request: ServiceRequest) -> Self {
        let entering = Box::new(Entering { entry, call: Some((inner, request)) });
        Self { state: State::Entering { entering } }
    }

    pub(crate) fn asking(
        reply: Reply<Decisions, Error>,
        inner: Rc<S>,
        request: ServiceRequest,
        throttle: Arc<Throttle>,
    ) -> Self {
        let asking = Box::new(Asking { reply, call: Some((inner, request)), throttle });
        Self { state: State::Asking { asking } }
    }
}

impl<S, B> Future for ThrottledFuture<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    type Output = Result<Eithers<B>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Asking { asking } => {
                    let answer = ready!(Pin::new(&mut asking.reply).poll(cx));
                    let Some((inner, request)) = asking.call.take() else {
                        return Poll::Pending; // polled after the end
                    };
                    let protocol = || convert::protocol_of(&request);
                    match asking.throttle.judge_for(protocol, answer) {
                        Verdict::Passed(decisions) => {
                            let marks = Some(asking.throttle.marks(&decisions));
                            convert::leave_decisions(&mut request.extensions_mut(), decisions);
                            State::Passed { future: inner.call(request), marks }
                        }
                        Verdict::Undecided(marks) => {
                            State::Passed { future: inner.call(request), marks: Some(marks) }
                        }
                        Verdict::Refused(refusal) => {
                            let response = request.into_response(convert::refuse(refusal));
                            State::Refused { response: Some(response.map_into_right_body()) }
                        }
                    }
                }
                StateProjection::Passed { future, marks } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(marks) = marks.take() {
                        convert::mark(marks, response.response_mut());
                    }
                    return Poll::Ready(Ok(response.map_into_left_body()));
                }
                StateProjection::Entering { entering } => {
                    let entered = ready!(Pin::new(&mut entering.entry).poll(cx));
                    let Some((inner, request)) = entering.call.take() else {
                        return Poll::Pending; // polled after the end
                    };
                    match entered {
                        Ok(passage) => {
                            let exit = convert::pass(passage, &mut request.extensions_mut());
                            State::Followed { future: inner.call(request), exit: Some(exit) }
                        }
                        Err(refusal) => {
                            let response = request.into_response(convert::refuse(refusal));
                            State::Refused { response: Some(response.map_into_right_body()) }
                        }
                    }
                }
                StateProjection::Followed { future, exit } => {
                    let response = ready!(future.poll(cx))?;
                    let Some(exit) = exit.take() else { return Poll::Pending };
                    match convert::leave(exit, response.response()) {
                        Ok(departure) => return Poll::Ready(Ok(depart(departure, response))),
                        Err(leaving) => {
                            State::Leaving { leaving: Box::new((leaving, Some(response))) }
                        }
                    }
                }
                StateProjection::Leaving { leaving } => {
                    let (leaving, response) = &mut **leaving;
                    let departure = ready!(Pin::new(leaving).poll(cx));
                    let Some(response) = response.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(depart(departure, response)));
                }
                StateProjection::Refused { response } => {
                    return match response.take() {
                        Some(response) => Poll::Ready(Ok(response)),
                        None => Poll::Pending, // polled after the end
                    };
                }
            };
            state.set(next);
        }
    }
}

fn depart<B: MessageBody + 'static>(
    departure: Departure,
    mut response: ServiceResponse<B>,
) -> Eithers<B> {
    let Departure { marks, hold } = departure;
    convert::mark(marks, response.response_mut());
    response.map_body(|_, body| match hold {
        Some(hold) => EitherBody::right(body::held(body, hold)),
        None => EitherBody::left(body),
    })
}

impl<S, B> fmt::Debug for ThrottledFuture<S, B>
where
    S: Service<ServiceRequest>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Asking { .. } => "ThrottledFuture(asking)",
            State::Passed { .. } => "ThrottledFuture(passed)",
            State::Refused { .. } => "ThrottledFuture(refused)",
            State::Entering { .. } => "ThrottledFuture(entering)",
            State::Followed { .. } => "ThrottledFuture(followed)",
            State::Leaving { .. } => "ThrottledFuture(leaving)",
        })
    }
}
