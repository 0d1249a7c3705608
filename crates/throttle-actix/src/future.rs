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
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
};
use pin_project_lite::pin_project;
use throttle_core::{Decisions, Error, Reply};
use throttle_http::{Throttle, Verdict};

use crate::{convert, service::Eithers};

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
            mark: Option<(Arc<Throttle>, Decisions)>,
        },
        Refused { response: Option<Eithers<B>> },
    }
}

struct Asking<S> {
    reply: Reply<Decisions, Error>,
    /// The inner service, and what to call it with.
    call: Option<(Rc<S>, ServiceRequest)>,
    throttle: Arc<Throttle>,
}

impl<S, B> ThrottledFuture<S, B>
where
    S: Service<ServiceRequest>,
{
    pub(crate) fn exempt(future: S::Future) -> Self {
        Self { state: State::Passed { future, mark: None } }
    }

    pub(crate) fn passed(future: S::Future, throttle: Arc<Throttle>, decisions: Decisions) -> Self {
        Self { state: State::Passed { future, mark: Some((throttle, decisions)) } }
    }

    pub(crate) fn refused(response: ServiceResponse) -> Self {
        Self { state: State::Refused { response: Some(response.map_into_right_body()) } }
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
    B: MessageBody,
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
                    match asking.throttle.judge(answer) {
                        Verdict::Passed(decisions) => {
                            request.extensions_mut().insert(decisions.clone());
                            let mark = Some((Arc::clone(&asking.throttle), decisions));
                            State::Passed { future: inner.call(request), mark }
                        }
                        Verdict::Refused(refusal) => {
                            let response = request.into_response(convert::refuse(refusal));
                            State::Refused { response: Some(response.map_into_right_body()) }
                        }
                    }
                }
                StateProjection::Passed { future, mark } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some((throttle, decisions)) = mark.take() {
                        convert::mark(&throttle, response.response_mut(), decisions);
                    }
                    return Poll::Ready(Ok(response.map_into_left_body()));
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

impl<S, B> fmt::Debug for ThrottledFuture<S, B>
where
    S: Service<ServiceRequest>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Asking { .. } => "ThrottledFuture(asking)",
            State::Passed { .. } => "ThrottledFuture(passed)",
            State::Refused { .. } => "ThrottledFuture(refused)",
        })
    }
}
