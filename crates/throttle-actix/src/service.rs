//! The service: asks, and calls the inner one at once if it may.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse},
};
use throttle_http::{Admission, Refusal, RequestHead, Throttle, Verdict};

use crate::{
    RateThrottle, ThrottledFuture,
    convert::{self, Head},
};

/// Is the inner service's response, or a refusal.
pub(crate) type Eithers<B> = ServiceResponse<EitherBody<B>>;

/// Limits the requests of the service within.
#[derive(Debug)]
pub struct ThrottledService<S> {
    inner: Rc<S>,
    /// None when it could not be built.
    throttle: Option<Arc<Throttle>>,
    /// Keeps what workers share, even where the app that it was wrapped around is gone.
    made_of: RateThrottle,
}

impl<S> ThrottledService<S> {
    pub(crate) fn new(inner: S, throttle: Option<Arc<Throttle>>, made_of: RateThrottle) -> Self {
        Self { inner: Rc::new(inner), throttle, made_of }
    }
}

impl<S, B> Service<ServiceRequest> for ThrottledService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    type Response = Eithers<B>;
    type Error = S::Error;
    type Future = ThrottledFuture<S, B>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let Some(throttle) = &self.throttle else {
            let refusal = Throttle::misconfigured_for(convert::protocol_of(&request));
            return refused(request, refusal);
        };
        let head = Head::new(&request, self.made_of.carried(), throttle.wants_route());
        let admission = throttle.admit(&RequestHead::foreign(&head, convert::peer_of(&request)));
        let reply = match admission {
            Admission::Exempt => return ThrottledFuture::exempt(self.inner.call(request)),
            Admission::Refused(refusal) => return refused(request, refusal),
            Admission::Undecided(marks) => {
                return ThrottledFuture::passed(self.inner.call(request), marks);
            }
            Admission::Asked(reply) => reply,
            Admission::Followed(followed) => {
                let (entry, inner) = (throttle.follow(followed), Rc::clone(&self.inner));
                return ThrottledFuture::entering(entry, inner, request);
            }
        };
        match reply.into_ready() {
            Ok(answer) => match throttle.judge_for(|| convert::protocol_of(&request), answer) {
                Verdict::Passed(decisions) => {
                    let marks = throttle.marks(&decisions);
                    convert::leave_decisions(&mut request.extensions_mut(), decisions);
                    ThrottledFuture::passed(self.inner.call(request), marks)
                }
                Verdict::Undecided(marks) => {
                    ThrottledFuture::passed(self.inner.call(request), marks)
                }
                Verdict::Refused(refusal) => refused(request, refusal),
            },
            Err(pending) => {
                let inner = Rc::clone(&self.inner);
                ThrottledFuture::asking(pending, inner, request, Arc::clone(throttle))
            }
        }
    }
}

fn refused<S, B>(request: ServiceRequest, refusal: Refusal) -> ThrottledFuture<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
{
    ThrottledFuture::refused(request.into_response(convert::refuse(refusal)))
}
