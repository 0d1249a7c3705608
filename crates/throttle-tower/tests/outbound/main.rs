//! Outbound limits of real clients, whose servers are limited too. Both use one clock, which the tests move.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod contract;

use std::{
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use throttle_core::{Algorithm, Limiter, ManualClock, Rule, Storage};
use throttle_http::{Headers, identity::Global};
use throttle_memory::MemoryStorage;
use throttle_tower::{
    BoxError, OutboundError, OutboundLimiter, OutboundService, RateThrottleLayer,
};
use tokio::{net::TcpListener, time::timeout};
use tower::{Layer, Service, ServiceExt};

use common::begin;

type HyperClient = Client<HttpConnector, Empty<Bytes>>;

pub(crate) fn clock() -> ManualClock {
    ManualClock::at(begin())
}

/// Returns a rule of `limit` requests a minute; the clock is at the start of a minute.
pub(crate) fn limiter(clock: &ManualClock, storage: impl Storage, limit: u64) -> Limiter {
    let limiter = Limiter::builder(storage).clock(clock.clone()).build();
    let rule = Rule::per_minute("api", limit).algorithm(Algorithm::FixedWindow);
    limiter.add_rule(rule).unwrap();
    limiter
}

pub(crate) fn outbound(clock: &ManualClock, limit: u64) -> OutboundLimiter {
    OutboundLimiter::new(limiter(clock, MemoryStorage::new(), limit))
        .max_wait(Duration::from_secs(600))
}

/// Serves `hello` behind the layer.
pub(crate) async fn serve(layer: RateThrottleLayer) -> SocketAddr {
    let app = Router::new().route("/", get(|| async { "hello" })).layer(layer.build().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    address
}

pub(crate) async fn serve_limit(clock: &ManualClock, limit: u64) -> SocketAddr {
    serve(RateThrottleLayer::new(limiter(clock, MemoryStorage::new(), limit))).await
}

pub(crate) fn client(outbound: OutboundLimiter) -> OutboundService<HyperClient> {
    outbound.build().unwrap().layer(Client::builder(TokioExecutor::new()).build_http())
}

pub(crate) async fn ask(
    client: &OutboundService<HyperClient>,
    address: SocketAddr,
) -> Result<StatusCode, BoxError> {
    let request = Request::get(format!("http://{address}/")).body(Empty::new()).unwrap();
    let response = client.clone().ready().await?.call(request).await?;
    Ok(response.status())
}

#[track_caller]
pub(crate) fn not_sent<T: std::fmt::Debug>(answer: Result<T, BoxError>) -> Box<OutboundError> {
    answer.unwrap_err().downcast().unwrap()
}

/// Lets a call run until only the clock keeps it waiting.
pub(crate) async fn waits<F: Future>(call: Pin<&mut F>) -> bool {
    timeout(Duration::from_millis(200), call).await.is_err()
}

#[tokio::test]
async fn a_client_with_the_same_limit_as_its_server_is_never_rejected() {
    let clock = clock();
    let address = serve_limit(&clock, 2).await;
    let client = client(outbound(&clock, 2));
    let mut calls: Vec<_> = (0..6).map(|_| Box::pin(ask(&client, address))).collect();
    for round in 0..3 {
        let mut waiting = Vec::new();
        for mut call in calls {
            match timeout(Duration::from_millis(200), call.as_mut()).await {
                Ok(answer) => assert_eq!(answer.unwrap(), StatusCode::OK),
                Err(_) => waiting.push(call),
            }
        }
        assert_eq!(waiting.len(), 4 - 2 * round);
        calls = waiting;
        clock.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_client_that_respects_the_limit_in_responses_is_never_rejected() {
    let clock = clock();
    let address = serve_limit(&clock, 1).await;
    let client = client(outbound(&clock, 100).respect_retry_after());
    assert_eq!(ask(&client, address).await.unwrap(), 200);
    for _ in 0..2 {
        let mut next = pin!(ask(&client, address));
        assert!(waits(next.as_mut()).await, "the previous response has r=0;t=60");
        clock.advance(Duration::from_secs(60));
        assert_eq!(next.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_rejection_is_returned_and_later_calls_respect_its_retry_after() {
    let clock = clock();
    let limiter = limiter(&clock, MemoryStorage::new(), 1);
    let headers = Headers::none().retry_after(true);
    let address = serve(RateThrottleLayer::new(limiter).headers(headers)).await;
    let client = client(outbound(&clock, 100).respect_retry_after());
    assert_eq!(ask(&client, address).await.unwrap(), 200);
    assert_eq!(ask(&client, address).await.unwrap(), 429);
    let mut next = pin!(ask(&client, address));
    assert!(waits(next.as_mut()).await);
    clock.advance(Duration::from_secs(59));
    assert!(waits(next.as_mut()).await);
    clock.advance(Duration::from_secs(1));
    assert_eq!(next.await.unwrap(), 200);
}

#[tokio::test]
async fn a_client_that_ignores_pauses_is_rejected() {
    let clock = clock();
    let address = serve_limit(&clock, 1).await;
    let client = client(outbound(&clock, 100));
    assert_eq!(ask(&client, address).await.unwrap(), 200);
    for _ in 0..2 {
        assert_eq!(ask(&client, address).await.unwrap(), 429);
    }
}

#[tokio::test]
async fn a_pause_is_not_longer_than_the_configured_maximum() {
    let clock = clock();
    let address = serve_limit(&clock, 1).await;
    let client = client(outbound(&clock, 100).respect_retry_after_up_to(Duration::from_secs(10)));
    assert_eq!(ask(&client, address).await.unwrap(), 200);
    let mut next = pin!(ask(&client, address));
    assert!(waits(next.as_mut()).await);
    clock.advance(Duration::from_secs(10));
    assert_eq!(next.await.unwrap(), 429);
}

#[tokio::test]
async fn a_call_that_would_wait_too_long_fails_immediately_and_reports_the_wait() {
    let clock = clock();
    let address = serve_limit(&clock, 100).await;
    let client = client(outbound(&clock, 1).max_wait(Duration::from_secs(59)));
    assert_eq!(ask(&client, address).await.unwrap(), 200);
    let not_sent = not_sent(ask(&client, address).await);
    assert!(
        matches!(&*not_sent, OutboundError::TooLong { rule, .. } if rule == "api"),
        "{not_sent}"
    );
    assert_eq!(not_sent.retry_after(), Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn each_host_has_a_separate_limit_unless_another_key_is_set() {
    let clock = clock();
    let (one, two) = (serve_limit(&clock, 100).await, serve_limit(&clock, 100).await);
    let apart = client(outbound(&clock, 1).max_wait(Duration::ZERO));
    assert_eq!(ask(&apart, one).await.unwrap(), 200);
    assert_eq!(ask(&apart, two).await.unwrap(), 200);
    not_sent(ask(&apart, one).await);

    let together = client(outbound(&clock, 1).max_wait(Duration::ZERO).key(Global));
    assert_eq!(ask(&together, one).await.unwrap(), 200);
    not_sent(ask(&together, two).await);
}

#[tokio::test]
async fn exactly_the_limit_of_many_concurrent_calls_is_sent() {
    let clock = clock();
    let address = serve_limit(&clock, 10).await;
    let client = client(outbound(&clock, 10));
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, address).await.unwrap() })
        })
        .collect();
    for round in 1..=6 {
        wait_until(|| calls.iter().filter(|call| call.is_finished()).count() == 10 * round).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(calls.iter().filter(|call| call.is_finished()).count(), 10 * round);
        clock.advance(Duration::from_secs(60));
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
}

async fn wait_until(done: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition is never met");
}

/// Polls a future once.
pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
