//! The service, which checks a request and calls the inner service.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
};
use throttle_http::{Attached, Misconfigured, RequestHead, Throttle};

#[cfg(feature = "memory")]
use crate::workers::Shared;
use crate::{
    convert::{self, AttachTo, Carry, Head},
    future::{EitherResponse, PendingCall, ResponseFuture},
};

/// A service that limits its requests.
#[derive(Debug)]
pub struct RateThrottleService<S> {
    inner: Rc<S>,
    /// `None` if the limits are disabled.
    throttle: Result<Option<Arc<Throttle>>, Misconfigured>,
    carried: Arc<[Carry]>,
    /// Keeps the limiter alive that the workers share, even after the throttle is dropped.
    #[cfg(feature = "memory")]
    _shared: Option<Arc<Shared>>,
}

impl<S> RateThrottleService<S> {
    pub(crate) fn new(
        inner: S,
        throttle: Result<Option<Arc<Throttle>>, Misconfigured>,
        carried: Arc<[Carry]>,
        #[cfg(feature = "memory")] shared: Option<Arc<Shared>>,
    ) -> Self {
        Self {
            inner: Rc::new(inner),
            throttle,
            carried,
            #[cfg(feature = "memory")]
            _shared: shared,
        }
    }
}

impl<S, B> Service<ServiceRequest> for RateThrottleService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    type Response = EitherResponse<B>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let throttle = match &self.throttle {
            Ok(Some(throttle)) => throttle,
            Ok(None) => {
                return ResponseFuture::called(Attached::default(), self.inner.call(request));
            }
            Err(misconfigured) => {
                let view = Head::new(&request, &self.carried, false);
                let head = RequestHead::from_view(&view, convert::peer_of(&request));
                let response = misconfigured.respond(&head);
                drop(view);
                return ResponseFuture::rejected(request, response);
            }
        };
        let view = Head::new(&request, &self.carried, throttle.wants_route());
        let head = RequestHead::from_view(&view, convert::peer_of(&request));
        let checked = match throttle.check(&head).into_ready() {
            Ok(checked) => Ok(checked.map_err(|rejected| throttle.respond(rejected, &head))),
            Err(pending) => Err(pending),
        };
        drop(view);
        match checked {
            Ok(Ok(pass)) => {
                let attached = pass.attach(&mut AttachTo(&mut request.extensions_mut()));
                ResponseFuture::called(attached, self.inner.call(request))
            }
            Ok(Err(response)) => ResponseFuture::rejected(request, response),
            Err(pending) => {
                let call = PendingCall {
                    throttle: Arc::clone(throttle),
                    carried: Arc::clone(&self.carried),
                    service: Rc::clone(&self.inner),
                    request,
                };
                ResponseFuture::checking(pending, call)
            }
        }
    }
}
