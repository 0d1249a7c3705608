//! The future of a limited request.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse},
};
use bytes::Bytes;
use pin_project_lite::pin_project;
use throttle_core::Reply;
use throttle_http::{Attached, Call, Done, LimitedFuture, Pass, Rejected, RequestHead, Throttle};

use crate::{
    body,
    convert::{self, AttachTo, Carry, Head},
};

/// The response of the inner service, or of a rejection.
pub(crate) type EitherResponse<B> = ServiceResponse<EitherBody<B>>;

pin_project! {
    /// The future of the inner response or of a rejection.
    pub struct ResponseFuture<S, B>
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>>,
        B: MessageBody,
        B: 'static,
    {
        #[pin]
        inner: LimitedFuture<PendingCall<S>>,
    }
}

/// The inner service, and the request to call it with.
pub(crate) struct PendingCall<S> {
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) carried: Arc<[Carry]>,
    pub(crate) service: Rc<S>,
    pub(crate) request: ServiceRequest,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    #[inline]
    pub(crate) fn called(attached: Attached, future: S::Future) -> Self {
        Self { inner: LimitedFuture::called(attached, future) }
    }

    #[inline]
    pub(crate) fn rejected(request: ServiceRequest, response: http::Response<Bytes>) -> Self {
        Self { inner: LimitedFuture::rejected(reject(request, response)) }
    }

    pub(crate) fn checking(check: Reply<Pass, Rejected>, call: PendingCall<S>) -> Self {
        Self { inner: LimitedFuture::checking(check, call) }
    }
}

impl<S, B> Call for PendingCall<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    type Future = S::Future;
    type Inner = ServiceResponse<B>;
    type Response = EitherResponse<B>;
    type Error = S::Error;

    #[inline]
    fn call(self, pass: Pass) -> (Attached, S::Future) {
        let attached = pass.attach(&mut AttachTo(&mut self.request.extensions_mut()));
        (attached, self.service.call(self.request))
    }

    fn reject(self, rejected: Rejected) -> Self::Response {
        let view = Head::new(&self.request, &self.carried, self.throttle.wants_route());
        let head = RequestHead::from_view(&view, convert::peer_of(&self.request));
        let response = self.throttle.respond(rejected, &head);
        drop(view);
        reject(self.request, response)
    }

    #[inline]
    fn finish(attached: Attached, response: &ServiceResponse<B>) -> Reply<Done, Infallible> {
        convert::finish(attached, response.response())
    }

    #[inline]
    fn respond(done: Done, mut response: ServiceResponse<B>) -> Self::Response {
        match convert::write(done, response.response_mut()) {
            None => response.map_into_left_body(),
            Some(guard) => {
                response.map_body(|_, body| EitherBody::right(body::guarded(body, guard)))
            }
        }
    }
}

#[inline]
fn reject<B>(request: ServiceRequest, response: http::Response<Bytes>) -> EitherResponse<B> {
    request.into_response(convert::to_actix(response)).map_into_right_body()
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    type Output = Result<EitherResponse<B>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseFuture").field(&self.inner).finish()
    }
}
