//! The future of a limited request; nothing in it is boxed where the decision was ready.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Extensions, Method, Request, Response};
use pin_project_lite::pin_project;
use throttle_core::{Decisions, Error, Reply};
use throttle_http::{
    ActualCost, Departure, Entry, Exit, InFlight, Leaving, Marks, Passage, Protocol, Refusal,
    ResponseHead, Throttle, Verdict,
};
use tower_service::Service;

use crate::{ResponseBody, refusal, service::leave};

pin_project! {
    /// Answers with the inner service's response, or with a refusal.
    pub struct ResponseFuture<S, B>
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
        /// The storage is being asked; boxed, so that requests decided at once stay small.
        Asking { asking: Box<Asking<S, B>> },
        /// The inner service is at work.
        Passed {
            #[pin]
            future: S::Future,
            marks: Option<Marks>,
        },
        Refused { refusal: Option<Refusal> },
        /// The request waits for its turn; boxed, as few requests do.
        Entering { entering: Box<Entering<S, B>> },
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

struct Asking<S, B> {
    reply: Reply<Decisions, Error>,
    /// The inner service that was polled ready, and what to call it with.
    call: Option<(S, Request<B>)>,
    throttle: Arc<Throttle>,
}

impl<S, B> Asking<S, B> {
    fn judge(&self, answer: Result<Decisions, Error>) -> Verdict {
        let protocol = || self.call.as_ref().map(|(_, request)| Protocol::of(request));
        self.throttle.judge_for(|| protocol().unwrap_or_default(), answer)
    }
}

struct Entering<S, B> {
    entry: Entry,
    /// The inner service that was polled ready, and what to call it with.
    call: Option<(S, Request<B>)>,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(crate) fn exempt(future: S::Future) -> Self {
        Self { state: State::Passed { future, marks: None } }
    }

    pub(crate) fn passed(future: S::Future, marks: Marks) -> Self {
        Self { state: State::Passed { future, marks: Some(marks) } }
    }

    pub(crate) fn refused(method: &Method, refusal: Refusal) -> Self {
        Self { state: State::refused(method, refusal) }
    }

    pub(crate) fn entering(entry: Entry, ready: S, request: Request<B>) -> Self {
        let entering = Box::new(Entering { entry, call: Some((ready, request)) });
        Self { state: State::Entering { entering } }
    }

    pub(crate) fn asking(
        reply: Reply<Decisions, Error>,
        ready: S,
        request: Request<B>,
        throttle: Arc<Throttle>,
    ) -> Self {
        let asking = Box::new(Asking { reply, call: Some((ready, request)), throttle });
        Self { state: State::Asking { asking } }
    }
}

impl<S, B> State<S, B>
where
    S: Service<Request<B>>,
{
    fn refused(method: &Method, refusal: Refusal) -> Self {
        Self::Refused { refusal: Some(refusal::fit(method, refusal)) }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Asking { asking } => {
                    let answer = ready!(Pin::new(&mut asking.reply).poll(cx));
                    match (asking.judge(answer), asking.call.take()) {
                        (Verdict::Passed(decisions), Some((mut ready, mut request))) => {
                            let marks = Some(asking.throttle.marks(&decisions));
                            leave(request.extensions_mut(), decisions);
                            State::Passed { future: ready.call(request), marks }
                        }
                        (Verdict::Undecided(marks), Some((mut ready, request))) => {
                            State::Passed { future: ready.call(request), marks: Some(marks) }
                        }
                        (Verdict::Refused(refusal), Some((_, request))) => {
                            State::refused(request.method(), refusal)
                        }
                        (_, None) => return Poll::Pending, // polled after the end
                    }
                }
                StateProjection::Passed { future, marks } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(marks) = marks.take() {
                        marks.write(&mut response);
                    }
                    return Poll::Ready(Ok(response.map(ResponseBody::inner)));
                }
                StateProjection::Entering { entering } => {
                    let entered = ready!(Pin::new(&mut entering.entry).poll(cx));
                    match (entered, entering.call.take()) {
                        (Ok(passage), Some((mut ready, mut request))) => {
                            let exit = Some(pass(passage, request.extensions_mut()));
                            State::Followed { future: ready.call(request), exit }
                        }
                        (Err(refusal), Some((_, request))) => {
                            State::refused(request.method(), refusal)
                        }
                        (_, None) => return Poll::Pending, // polled after the end
                    }
                }
                StateProjection::Followed { future, exit } => {
                    let response = ready!(future.poll(cx))?;
                    let Some(exit) = exit.take() else { return Poll::Pending };
                    let head = ResponseHead::new(response.status(), response.headers());
                    match exit.leave(&head) {
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
                StateProjection::Refused { refusal } => {
                    return match refusal.take() {
                        Some(refusal) => Poll::Ready(Ok(refusal.map(ResponseBody::refusal))),
                        None => Poll::Pending, // polled after the end
                    };
                }
            };
            state.set(next);
        }
    }
}

/// Puts into a request what a handler finds there.
fn pass(passage: Passage, extensions: &mut Extensions) -> Box<Exit> {
    let Passage { decisions, in_flight, actual_cost, exit } = passage;
    if let Some(decisions) = decisions {
        leave(extensions, decisions);
    }
    if let Some(in_flight) = in_flight {
        let in_flight = in_flight.beside(extensions.get::<InFlight>());
        extensions.insert(in_flight);
    }
    if let Some(cost) = actual_cost {
        let cost = cost.beside(extensions.get::<ActualCost>());
        extensions.insert(cost);
    }
    exit
}

fn depart<R>(departure: Departure, mut response: Response<R>) -> Response<ResponseBody<R>> {
    let Departure { marks, hold } = departure;
    marks.write(&mut response);
    response.map(|body| match hold {
        Some(hold) => ResponseBody::held(body, hold),
        None => ResponseBody::inner(body),
    })
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Asking { .. } => "ResponseFuture(asking)",
            State::Passed { .. } => "ResponseFuture(passed)",
            State::Refused { .. } => "ResponseFuture(refused)",
            State::Entering { .. } => "ResponseFuture(entering)",
            State::Followed { .. } => "ResponseFuture(followed)",
            State::Leaving { .. } => "ResponseFuture(leaving)",
        })
    }
}
