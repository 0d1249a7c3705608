//! The future of a limited request stays pending after its end.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    sync::Arc,
    task::{Context, Waker},
};

use http::{HeaderMap, Request, StatusCode};
use throttle_core::{Limiter, Reply, Rule};
use throttle_http::{
    Attached, Call, Done, LimitedFuture, Options, Pass, Rejected, RequestHead, ResponseHead,
    Throttle,
};
use throttle_memory::MemoryStorage;

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

    fn reject(self, _: Rejected) {}

    fn finish(attached: Attached, (): &()) -> Reply<Done, Infallible> {
        let head = HeaderMap::new();
        Reply::pending(attached.finish(&ResponseHead::new(StatusCode::OK, &head)))
    }

    fn respond(_: Done, (): ()) {}
}

#[test]
fn a_future_that_is_polled_after_its_end_is_pending() {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("r", 1)).unwrap();
    let throttle = Arc::new(Throttle::new(limiter, Options::new()).unwrap());
    // Without an address there is no key.
    let reply = throttle.check(&RequestHead::new(&Request::new(()), None));
    let rejected = reply.into_ready().expect("memory answers at once").unwrap_err();
    let futures: [LimitedFuture<Answered>; 3] = [
        LimitedFuture::rejected(()),
        LimitedFuture::checking(Reply::pending(async move { Err(rejected) }), Answered),
        LimitedFuture::checking(Reply::pending(async { Ok(Pass::default()) }), Answered),
    ];
    for future in futures {
        let mut future = Box::pin(future);
        let mut poll = || future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_ready());
        assert!(poll().is_pending());
    }
}
