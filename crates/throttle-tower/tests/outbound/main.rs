//! Limits in front of real clients, which ask real servers that are limited themselves. Both go by one
//! clock, which the tests move.
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

/// So many a minute, by a clock that stands where a minute begins.
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

/// Lets a call run for as long as something other than the clock is in its way.
pub(crate) async fn waits<F: Future>(call: Pin<&mut F>) -> bool {
    timeout(Duration::from_millis(200), call).await.is_err()
}

#[tokio::test]
async fn a_client_that_keeps_the_limit_of_its_server_is_never_refused() {
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
async fn a_client_that_obeys_waits_for_what_the_server_said_of_its_limit_and_is_never_refused() {
    let clock = clock();
    let address = serve_limit(&clock, 1).await;
    let client = client(outbound(&clock, 100).respect_retry_after());
    assert_eq!(ask(&client, address).await.unwrap(), 200);
    for _ in 0..2 {
        let mut next = pin!(ask(&client, address));
        assert!(waits(next.as_mut()).await, "the answer before said r=0;t=60");
        clock.advance(Duration::from_secs(60));
        assert_eq!(next.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_refusal_is_passed_on_and_its_retry_after_is_obeyed_by_later_calls() {
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
async fn a_client_that_does_not_obey_is_refused() {
    let clock = clock();
    let address = serve_limit(&clock, 1).await;
    let client = client(outbound(&clock, 100));
    assert_eq!(ask(&client, address).await.unwrap(), 200);
    for _ in 0..2 {
        assert_eq!(ask(&client, address).await.unwrap(), 429);
    }
}

#[tokio::test]
async fn a_server_is_obeyed_for_no_longer_than_was_said() {
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
async fn a_call_that_would_wait_too_long_fails_at_once_and_says_how_long() {
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
async fn each_host_has_a_limit_of_its_own_unless_they_are_told_apart_otherwise() {
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
async fn many_calls_at_once_pass_by_the_limit_exactly() {
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
    panic!("it is never done");
}

/// A future of a test, polled once.
pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
