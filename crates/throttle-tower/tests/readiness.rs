//! The contract of `tower::Service`: readiness, backpressure, errors, dropped futures.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    mem,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use throttle_core::{Limiter, Storage};
use throttle_memory::MemoryStorage;
use throttle_tower::{RateThrottleLayer, RateThrottleService, ResponseBody};
use tower::{Layer, Service, ServiceExt, service_fn};

use common::{Later, get_plain, limiter};

type Body = Full<Bytes>;

/// A service that panics if it is called without being ready; a clone must be polled again.
#[derive(Default, Debug)]
struct Careful {
    polled: bool,
    busy: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Clone for Careful {
    fn clone(&self) -> Self {
        Self { polled: false, busy: Arc::clone(&self.busy), calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<Body>> for Careful {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.busy.load(SeqCst) {
            return Poll::Pending;
        }
        self.polled = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(mem::take(&mut self.polled), "called without being ready");
        self.calls.fetch_add(1, SeqCst);
        ready(Ok(Response::default()))
    }
}

fn limited<S>(storage: impl Storage, limit: u64, inner: S) -> RateThrottleService<S> {
    RateThrottleLayer::new(limiter(storage, limit)).build().unwrap().layer(inner)
}

async fn status<S>(service: &mut S) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<ResponseBody<Body>>, Error = Infallible>,
{
    let Ok(service) = service.ready().await;
    let Ok(response) = service.call(get_plain()).await;
    response.status()
}

async fn only_the_one_that_was_polled_is_called(storage: impl Storage) {
    let inner = Careful::default();
    let mut service = limited(storage, 3, inner.clone());
    for n in 0..5 {
        let expected = if n < 3 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(status(&mut service).await, expected, "request {n}");
        assert_eq!(inner.calls.load(SeqCst), 3.min(n + 1), "a rejection does not call the handler");
    }
}

#[tokio::test]
async fn only_the_inner_service_that_was_polled_is_called_when_the_decision_is_ready() {
    only_the_one_that_was_polled_is_called(MemoryStorage::new()).await;
}

#[tokio::test]
async fn only_the_inner_service_that_was_polled_is_called_when_the_decision_comes_later() {
    only_the_one_that_was_polled_is_called(Later::default()).await;
}

#[tokio::test]
async fn only_the_inner_service_that_was_polled_is_called_when_the_charge_may_change() {
    let limiter = limiter(MemoryStorage::new(), 3);
    let layer = RateThrottleLayer::new(limiter).shape().charge_if(|_| false);
    let inner = Careful::default();
    let mut service = layer.layer(inner.clone());
    for _ in 0..5 {
        assert_eq!(status(&mut service).await, StatusCode::OK);
    }
    assert_eq!(inner.calls.load(SeqCst), 5);
}

#[tokio::test]
async fn a_request_that_is_never_polled_is_refunded_if_its_charge_may_change() {
    let limiter = limiter(MemoryStorage::new(), 3);
    let mut service = RateThrottleLayer::new(&limiter).shape().layer(Careful::default());
    let Ok(ready) = service.ready().await;
    drop(ready.call(get_plain()));
    assert_eq!(limiter.peek("192.0.2.1", "api").await.unwrap().remaining(), 3);
}

#[tokio::test]
async fn an_exempt_request_is_sent_to_the_service_that_was_polled() {
    let layer = RateThrottleLayer::new(limiter(Later::default(), 1)).exempt(|_| true);
    let mut service = layer.layer(Careful::default());
    assert_eq!(status(&mut service).await, StatusCode::OK);
    assert_eq!(status(&mut service).await, StatusCode::OK);
}

#[tokio::test]
async fn requests_with_pending_decisions_each_have_a_ready_service() {
    let inner = Careful::default();
    let mut service = limited(Later::default(), 10, inner.clone());
    let mut calls = Vec::new();
    for _ in 0..20 {
        let Ok(service) = service.ready().await;
        calls.push(tokio::spawn(service.call(get_plain())));
    }
    let mut allowed = 0;
    for call in calls {
        let Ok(response) = call.await.unwrap();
        allowed += usize::from(response.status() == StatusCode::OK);
    }
    assert_eq!((allowed, inner.calls.load(SeqCst)), (10, 10));
}

#[tokio::test]
async fn a_rejection_leaves_the_inner_service_ready() {
    let mut service = limited(MemoryStorage::new(), 1, Careful::default());
    assert_eq!(status(&mut service).await, StatusCode::OK);
    let Ok(ready) = service.ready().await;
    let Ok(rejected) = ready.call(get_plain()).await;
    assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
    let Ok(_) = service.ready().await;
}

#[tokio::test]
async fn the_backpressure_of_the_inner_service_is_kept_and_costs_nothing() {
    let inner = Careful::default();
    let limiter = limiter(MemoryStorage::new(), 1);
    let mut service = RateThrottleLayer::new(&limiter).layer(inner.clone());
    let mut cx = Context::from_waker(Waker::noop());
    inner.busy.store(true, SeqCst);
    assert!(service.poll_ready(&mut cx).is_pending());
    assert!(service.poll_ready(&mut cx).is_pending());
    assert_eq!(limiter.metrics().total, 0);
    inner.busy.store(false, SeqCst);
    assert!(service.poll_ready(&mut cx).is_ready());
    assert_eq!(status(&mut service).await, StatusCode::OK);
}

#[tokio::test]
async fn a_service_that_could_not_be_built_respects_the_contract() {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)).rule("unknown");
    let inner = Careful::default();
    let mut service = layer.layer(inner.clone());
    assert_eq!(status(&mut service).await, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(status(&mut service).await, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(inner.calls.load(SeqCst), 0);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Broken(&'static str);

async fn errors_are_returned(storage: impl Storage) {
    let inner = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(Broken("call")) });
    let service = limited(storage, 1, inner);
    let error = service.clone().oneshot(get_plain()).await.unwrap_err();
    assert_eq!(error, Broken("call"));
    let response = service.oneshot(get_plain()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "it was charged");
}

#[tokio::test]
async fn an_error_of_the_inner_service_is_returned_unchanged() {
    errors_are_returned(MemoryStorage::new()).await;
    errors_are_returned(Later::default()).await;
}

#[tokio::test]
async fn an_inner_service_that_fails_releases_the_permit() {
    let limiter = Limiter::new(MemoryStorage::new());
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    let layer = RateThrottleLayer::new(limiter).concurrency(uploads.clone());
    let inner = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(Broken("call")) });
    assert_eq!(layer.layer(inner).oneshot(get_plain()).await.unwrap_err(), Broken("call"));
    assert_eq!(uploads.in_use("192.0.2.1").await.unwrap(), 0);
}

#[derive(Clone, Debug)]
struct NeverReady;

impl Service<Request<Body>> for NeverReady {
    type Response = Response<Body>;
    type Error = Broken;
    type Future = Ready<Result<Response<Body>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Err(Broken("poll_ready")))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Err(Broken("called although it is not ready")))
    }
}

#[tokio::test]
async fn an_error_of_readiness_is_returned_unchanged() {
    let mut service = limited(MemoryStorage::new(), 1, NeverReady);
    assert_eq!(service.ready().await.unwrap_err(), Broken("poll_ready"));
}

#[tokio::test]
async fn a_future_that_is_dropped_before_the_storage_answers_calls_no_handler_and_locks_nothing() {
    let inner = Careful::default();
    let mut service = limited(Later::default(), 2, inner.clone());
    let mut cx = Context::from_waker(Waker::noop());
    for polls in 0..4 {
        let Ok(ready) = service.ready().await;
        let mut call = pin!(ready.call(get_plain()));
        for _ in 0..polls {
            // Fewer polls than the storage needs: two for each of `get` and `set`.
            assert!(call.as_mut().poll(&mut cx).is_pending());
        }
    }
    assert_eq!(inner.calls.load(SeqCst), 0);
    assert_eq!(status(&mut service).await, StatusCode::OK);
}

#[tokio::test]
async fn a_future_that_is_dropped_while_the_handler_runs_is_charged_once() {
    let inner =
        service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Broken>>());
    let limiter = limiter(MemoryStorage::new(), 2);
    let mut service = RateThrottleLayer::new(&limiter).layer(inner);
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = Box::pin(service.ready().await.unwrap().call(get_plain()));
    assert!(call.as_mut().poll(&mut cx).is_pending());
    drop(call);
    assert_eq!(limiter.peek("192.0.2.1", "api").await.unwrap().remaining(), 1);
}

#[tokio::test]
async fn a_future_that_is_never_polled_charges_at_most_once() {
    let limiter = limiter(Later::default(), 2);
    let mut service = RateThrottleLayer::new(&limiter).layer(Careful::default());
    let Ok(ready) = service.ready().await;
    drop(ready.call(get_plain()));
    assert_eq!(limiter.peek("192.0.2.1", "api").await.unwrap().remaining(), 2);
}
