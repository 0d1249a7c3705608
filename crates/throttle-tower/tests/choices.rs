//! A failed storage, a missing key and a route are matters of choice.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, body::Body, routing::any};
use bytes::Bytes;
use http::{Request, Response};
use throttle_http::{
    OnError,
    identity::{ClientIp, RoutePattern},
};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{Failing, Log, get, limiter, whole};

struct Served(Router);

impl Served {
    async fn new(layer: RateThrottleLayer) -> Self {
        let routes = Router::new().route("/users/{id}", any(|| async { "" }));
        let routes = routes.fallback(|| async { "hello" });
        Self(routes.layer(layer.build().unwrap()))
    }

    async fn ask(&self, request: Request<Body>) -> Response<Bytes> {
        whole(self.0.clone().oneshot(request).await.unwrap()).await
    }

    async fn status(&self, request: Request<Body>) -> u16 {
        self.ask(request).await.status().as_u16()
    }
}

fn get_path(path: &str) -> Request<Body> {
    let mut request = get();
    *request.uri_mut() = path.parse().unwrap();
    request
}

type Throttle = RateThrottleLayer;

#[tokio::test]
async fn a_failed_storage_can_let_pass_and_says_so() {
    let storage = Failing::default();
    let throttle = Throttle::new(limiter(storage.clone(), 1)).on_error(OnError::Pass);
    let app = Served::new(throttle).await;
    assert_eq!((app.status(get()).await, app.status(get()).await), (200, 429));
    storage.set_down(true);
    for _ in 0..3 {
        let response = app.ask(get()).await;
        assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"hello"[..]));
        assert_eq!(response.headers()["x-ratelimit-degraded"], "unlimited");
        assert!(!response.headers().contains_key("ratelimit"));
    }
    storage.set_down(false);
    let response = app.ask(get()).await;
    assert_eq!(response.status(), 429);
    assert!(!response.headers().contains_key("x-ratelimit-degraded"));
}

#[tokio::test]
async fn a_failed_storage_can_be_answered_by_a_function_of_the_error() {
    let storage = Failing::default();
    storage.set_down(true);
    let answer = OnError::answer(|error| {
        assert!(error.to_string().contains("connection refused"), "{error}");
        Response::builder().status(418).header("x-own", "1").body("tea").unwrap()
    });
    let app = Served::new(Throttle::new(limiter(storage, 1)).on_error(answer)).await;
    let response = app.ask(get()).await;
    assert_eq!((response.status().as_u16(), &response.body()[..]), (418, &b"tea"[..]));
    assert_eq!(response.headers()["x-own"], "1");
}

#[tokio::test]
async fn a_rule_that_is_gone_lifts_no_limit() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let throttle = Throttle::new(&limiter).rule("api").on_error(OnError::Pass);
    let app = Served::new(throttle).await;
    assert!(limiter.remove_rule("api"));
    assert_eq!(app.status(get()).await, 503);
}

#[tokio::test]
async fn a_failure_is_logged_once_and_so_is_its_end() {
    let (log, _guard) = Log::start();
    let storage = Failing::default();
    let limiter = limiter(storage.clone(), 9);
    let app = Served::new(Throttle::new(&limiter)).await;
    for _ in 0..2 {
        storage.set_down(true);
        log.take();
        for _ in 0..3 {
            assert_eq!(app.status(get()).await, 503);
        }
        let lines = log.take();
        assert_eq!(lines.matches("ERROR").count(), 1, "{lines}");
        assert!(lines.contains("connection refused"), "{lines}");
        limiter.deny_list().add("192.0.2.1").unwrap();
        assert_eq!(app.status(get()).await, 403);
        assert_eq!(log.take(), "", "the list answered, not the storage");
        limiter.deny_list().remove("192.0.2.1").unwrap();
        storage.set_down(false);
        for _ in 0..2 {
            assert_eq!(app.status(get()).await, 200);
        }
        let lines = log.take();
        assert_eq!(lines.matches("decided again").count(), 1, "{lines}");
        assert!(lines.contains("requests=3"), "{lines}");
    }
}

#[tokio::test]
async fn a_storage_that_fails_for_every_other_request_does_not_flood_the_log() {
    let (log, _guard) = Log::start();
    let storage = Failing::default();
    let app = Served::new(Throttle::new(limiter(storage.clone(), 99))).await;
    for _ in 0..50 {
        storage.set_down(true);
        assert_eq!(app.status(get()).await, 503);
        storage.set_down(false);
        assert_eq!(app.status(get()).await, 200);
    }
    let lines = log.take();
    assert_eq!(lines.matches("ERROR").count(), 5, "{lines}");
    assert_eq!(lines.matches("decided again").count(), 5, "{lines}");
}

#[tokio::test]
async fn a_route_is_a_key_and_so_is_that_there_is_none() {
    let key = (RoutePattern, ClientIp::new());
    let app = Served::new(Throttle::new(limiter(MemoryStorage::new(), 1)).key(key)).await;
    assert_eq!(app.status(get_path("/users/1")).await, 200);
    assert_eq!(app.status(get_path("/users/2")).await, 429);
    assert_eq!(app.status(get_path("/nothing")).await, 200);
    assert_eq!(app.status(get_path("/nowhere")).await, 429);
}
