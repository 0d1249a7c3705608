//! The future of a limited request stays pending after its end.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    task::{Context, Waker},
};

use http::{HeaderMap, Request, StatusCode};
use throttle_core::Reply;
use throttle_http::{
    Attached, Call, Done, LimitedFuture, Pass, Rejection, RequestHead, ResponseHead,
};

/// A call that returns immediately, and whose charge changes later.
struct Answered;

impl Call for Answered {
    type Future = Ready<Result<(), Infallible>>;
    type Inner = ();
    type Response = ();
    type Error = Infallible;

    fn call(self, _: Pass) -> (Attached, Self::Future) {
        (Attached::default(), ready(Ok(())))
    }

    fn reject(self, _: Rejection) {}

    fn finish(attached: Attached, (): &()) -> Reply<Done, Infallible> {
        let head = HeaderMap::new();
        Reply::pending(attached.finish(&ResponseHead::new(StatusCode::OK, &head)))
    }

    fn respond(_: Done, (): ()) {}
}

#[test]
fn a_future_that_is_polled_after_its_end_is_pending() {
    let rejection = || Rejection::misconfigured(&RequestHead::new(&Request::new(()), None));
    let futures: [LimitedFuture<Answered>; 3] = [
        LimitedFuture::rejected(()),
        LimitedFuture::checking(Reply::pending(async move { Err(rejection()) }), Answered),
        LimitedFuture::checking(Reply::pending(async { Ok(Pass::default()) }), Answered),
    ];
    for future in futures {
        let mut future = Box::pin(future);
        let mut poll = || future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_ready());
        assert!(poll().is_pending());
    }
}
