//! The contract of `tower::Service`, dropped calls, and configuration errors.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use throttle_core::{Algorithm, Limiter, ManualClock, Rule, Storage, StorageError};
use throttle_http::{RequestHead, identity::AsyncKey};
use throttle_memory::MemoryStorage;
use throttle_tower::{OutboundError, OutboundLimiter};
use tokio::{task::yield_now, time::timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    clock,
    common::{Failing, Later, Log},
    limiter, not_sent, outbound, poll_once,
};

/// A service that panics if it is called without being ready; a clone must be polled again.
#[derive(Default, Debug)]
struct Careful {
    polled: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Careful {
    fn clone(&self) -> Self {
        Self { polled: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<()>> for Careful {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.polled = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(mem::take(&mut self.polled), "called without being ready");
        self.calls.fetch_add(1, SeqCst);
        ready(Ok(Response::default()))
    }
}

fn request() -> Request<()> {
    Request::get("http://api.example.com/").body(()).unwrap()
}

async fn only_the_one_that_was_polled_is_called(storage: impl Storage) {
    let clock = clock();
    let inner = Careful::default();
    let calls = Arc::clone(&inner.calls);
    let outbound = OutboundLimiter::new(limiter(&clock, storage, 1));
    let mut service = outbound.max_wait(Duration::from_secs(600)).layer(inner);
    service.ready().await.unwrap().call(request()).await.unwrap();
    assert_eq!(calls.load(SeqCst), 1);
    let (mut waits, mut never) = {
        let waits = Box::pin(service.ready().await.unwrap().call(request()));
        (waits, Box::pin(service.ready().await.unwrap().call(request())))
    };
    for _ in 0..20 {
        assert!(poll_once(waits.as_mut()).is_pending() && poll_once(never.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(calls.load(SeqCst), 1, "a waiting call is not sent");
    clock.advance(Duration::from_secs(60));
    waits.await.unwrap();
    drop(never);
    assert_eq!(calls.load(SeqCst), 2);
}

#[tokio::test]
async fn only_the_client_that_was_polled_is_called_when_the_decision_is_ready() {
    only_the_one_that_was_polled_is_called(MemoryStorage::new()).await;
}

#[tokio::test]
async fn only_the_client_that_was_polled_is_called_when_the_decision_comes_later() {
    only_the_one_that_was_polled_is_called(Later::default()).await;
}

#[tokio::test]
async fn a_call_waits_until_the_client_is_ready_and_errors_of_the_client_are_returned() {
    let outbound = outbound(&clock(), 100).build().unwrap();
    let inner = service_fn(|_: Request<()>| async { Err::<Response<()>, _>("out of order") });
    let error = outbound.layer(inner).oneshot(request()).await.unwrap_err();
    assert_eq!(error.to_string(), "out of order");

    let busy = tower::limit::ConcurrencyLimit::new(Careful::default(), 1);
    let mut first = outbound.layer(busy);
    let mut second = first.clone();
    let _held = first.ready().await.unwrap();
    assert!(poll_once(pin!(second.ready())).is_pending(), "the only permit is in use");
}

fn leaky(clock: &ManualClock, storage: impl Storage) -> Limiter {
    let limiter = Limiter::builder(storage).clock(clock.clone()).build();
    let rule = Rule::per_minute("api", 1).algorithm(Algorithm::LeakyBucket).burst(3);
    limiter.add_rule(rule).unwrap();
    limiter
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_is_refunded_and_not_sent() {
    let clock = clock();
    let limiter = leaky(&clock, MemoryStorage::new());
    let inner = Careful::default();
    let calls = Arc::clone(&inner.calls);
    let outbound = OutboundLimiter::new(&limiter).max_wait(Duration::from_secs(600));
    let mut service = outbound.layer(inner);
    service.ready().await.unwrap().call(request()).await.unwrap();
    let left = async || limiter.peek("api.example.com", "api").await.unwrap().remaining();
    for polls in 0..2 {
        let mut waits = Box::pin(service.ready().await.unwrap().call(request()));
        for _ in 0..polls {
            assert!(poll_once(waits.as_mut()).is_pending());
        }
        assert_eq!(left().await, 1);
        drop(waits);
        assert_eq!(left().await, 2);
    }
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_at_any_time_is_refunded_by_a_storage_that_answers_later() {
    let clock = clock();
    let limiter = leaky(&clock, Later::default());
    let inner = Careful::default();
    let outbound = OutboundLimiter::new(&limiter).max_wait(Duration::from_secs(600));
    let mut service = outbound.layer(inner);
    service.ready().await.unwrap().call(request()).await.unwrap();
    let left = async || limiter.peek("api.example.com", "api").await.unwrap().remaining();
    for polls in 0..30 {
        let mut waits = Box::pin(service.ready().await.unwrap().call(request()));
        for _ in 0..polls {
            assert!(
                poll_once(waits.as_mut()).is_pending(),
                "it waits at least for its scheduled time"
            );
            yield_now().await;
        }
        drop(waits);
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(left().await, 2, "dropped after {polls} polls");
    }
}

#[tokio::test]
async fn a_delay_that_is_too_long_is_refunded_even_if_the_call_is_dropped() {
    let clock = clock();
    let limiter = leaky(&clock, Later::default());
    let mut service =
        OutboundLimiter::new(&limiter).max_wait(Duration::ZERO).layer(Careful::default());
    service.ready().await.unwrap().call(request()).await.unwrap();
    for polls in 0..30 {
        let mut rejected = Box::pin(service.ready().await.unwrap().call(request()));
        for _ in 0..polls {
            if poll_once(rejected.as_mut()).is_ready() {
                break;
            }
            yield_now().await;
        }
        drop(rejected);
        for _ in 0..100 {
            yield_now().await;
        }
        let left = limiter.peek("api.example.com", "api").await.unwrap().remaining();
        assert_eq!(left, 2, "dropped after {polls} polls");
    }
}

#[tokio::test]
async fn a_delay_that_is_too_long_is_refunded_by_a_storage_that_answers_later() {
    let clock = clock();
    let limiter = leaky(&clock, Later::default());
    let mut service =
        OutboundLimiter::new(&limiter).max_wait(Duration::ZERO).layer(Careful::default());
    service.ready().await.unwrap().call(request()).await.unwrap();
    let not_sent = not_sent(service.ready().await.unwrap().call(request()).await);
    assert_eq!(not_sent.retry_after(), Some(Duration::from_secs(60)));
    let left = limiter.peek("api.example.com", "api").await.unwrap().remaining();
    assert_eq!(left, 2);
}

#[tokio::test]
async fn if_the_storage_fails_a_call_fails_or_is_sent() {
    let failing = Failing::default();
    let limiter = limiter(&clock(), failing.clone(), 1);
    let strict = OutboundLimiter::new(&limiter).layer(Careful::default());
    let open = OutboundLimiter::new(&limiter).pass_on_error().layer(Careful::default());
    failing.set_down(true);
    let not_sent = not_sent(strict.oneshot(request()).await);
    assert!(matches!(*not_sent, OutboundError::Limiter(_)), "{not_sent}");
    assert!(not_sent.to_string().contains("connection refused"), "{not_sent}");

    let (log, _guard) = Log::start();
    for _ in 0..3 {
        open.clone().oneshot(request()).await.unwrap();
    }
    failing.set_down(false);
    open.oneshot(request()).await.unwrap();
    let logged = log.take();
    assert_eq!(
        logged.lines().count(),
        2,
        "one line when it fails, one when it works again: {logged}"
    );
}

#[tokio::test]
async fn a_storage_that_panics_fails_only_that_call_even_during_a_refund() {
    let failing = Failing::default();
    let limiter = leaky(&clock(), failing.clone());
    let outbound = OutboundLimiter::new(&limiter).max_wait(Duration::from_secs(600));
    let mut service = outbound.layer(Careful::default());
    service.ready().await.unwrap().call(request()).await.unwrap();
    let mut waits = Box::pin(service.ready().await.unwrap().call(request()));
    assert!(timeout(Duration::from_millis(100), waits.as_mut()).await.is_err(), "it is delayed");

    failing.set_panics(true);
    let call = tokio::spawn(service.clone().oneshot(request()));
    assert!(call.await.unwrap_err().is_panic());
    let both = catch_unwind(AssertUnwindSafe(move || {
        let _waits = waits;
        resume_unwind(Box::new("the caller panics"));
    }));
    assert!(both.is_err());

    failing.set_panics(false);
    let left = limiter.peek("api.example.com", "api").await.unwrap().remaining();
    assert_eq!(left, 1, "only the failed refund remains charged");
    let mut next = Box::pin(service.ready().await.unwrap().call(request()));
    assert!(timeout(Duration::from_millis(100), next.as_mut()).await.is_err(), "it is delayed");
}

#[tokio::test]
async fn a_configuration_error_is_returned_by_build_and_otherwise_by_every_call() {
    let known = limiter(&clock(), MemoryStorage::new(), 1);
    let error = OutboundLimiter::new(&known).rule("partner").build().unwrap_err();
    assert!(error.to_string().contains("\"api\""), "it lists the known rules: {error}");
    assert!(OutboundLimiter::new(&known).limit("fast", "5/fortnight").build().is_err());
    assert!(
        OutboundLimiter::new(Limiter::new(MemoryStorage::new())).build().is_err(),
        "no rules at all"
    );

    let later = AsyncKey::new(|_: &RequestHead<'_>| async { Ok::<_, StorageError>(Some("me")) });
    let error = OutboundLimiter::new(&known).key(later).build().unwrap_err();
    assert!(error.to_string().contains("wait_for"), "{error}");

    let unbuilt = OutboundLimiter::new(&known).rule("partner");
    let mut service = unbuilt.clone().layer(Careful::default());
    for _ in 0..2 {
        let not_sent = not_sent(service.ready().await.unwrap().call(request()).await);
        assert!(matches!(*not_sent, OutboundError::Config(_)), "{not_sent}");
        assert!(not_sent.to_string().contains("\"api\""), "{not_sent}");
    }
    assert!(matches!(unbuilt.wait_for("host").await, Err(OutboundError::Config(_))));
}

#[tokio::test]
async fn a_direct_wait_costs_the_configured_number() {
    let limiter = limiter(&clock(), MemoryStorage::new(), 10);
    let left = async || limiter.peek("host", "api").await.unwrap().remaining();
    let outbound = OutboundLimiter::new(&limiter);
    outbound.clone().cost(4).wait_for("host").await.unwrap();
    assert_eq!(left().await, 6);
    outbound.clone().cost(|_: &RequestHead<'_>| 4).wait_for("host").await.unwrap();
    assert_eq!(left().await, 5, "there is no request for a function");
    outbound.wait_for("host").await.unwrap();
    assert_eq!(left().await, 4);
}

#[tokio::test]
async fn clones_share_pauses_and_a_changed_clone_does_not() {
    let clock = clock();
    let outbound = outbound(&clock, 100).max_wait(Duration::ZERO).respect_retry_after();
    let headers = Response::builder().header("retry-after", "9").body(()).unwrap();
    let clone = outbound.clone();
    outbound.observe_response("host", 429.try_into().unwrap(), headers.headers());
    assert!(matches!(clone.wait_for("host").await, Err(OutboundError::Paused { .. })));
    clone.limit("other", "5/minute").wait_for("host").await.unwrap();
}

#[tokio::test]
async fn a_rule_alone_is_enough() {
    let outbound =
        OutboundLimiter::new(Rule::per_day("api", 2)).max_wait(Duration::ZERO).build().unwrap();
    let service = outbound.layer(Careful::default());
    for _ in 0..2 {
        service.clone().oneshot(request()).await.unwrap();
    }
    not_sent(service.oneshot(request()).await);
}
