//! Requests that wait for their turn, and those whose charge depends on their response.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::any};
use bytes::Bytes;
use http::{Request, Response};
use throttle_core::{Algorithm, Limiter, ManualClock, Rule, Storage};
use throttle_http::OnError;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::{sync::Notify, task::spawn as start};
use tower::ServiceExt;

use common::{Failing, Later, begin, field, get, whole};

type Throttle = RateThrottleLayer;

/// Has a handler that does what the request says.
#[derive(Clone)]
struct Served {
    router: Router,
    calls: Arc<AtomicUsize>,
    notify: Arc<Notify>,
}

impl Served {
    async fn new(layer: RateThrottleLayer) -> Self {
        let (calls, notify) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, awaited) = (calls.clone(), notify.clone());
        let handler = async move |request: Request<Body>| {
            counted.fetch_add(1, Relaxed);
            let what =
                request.headers().get("x-status").map_or("200", |what| what.to_str().unwrap());
            if what == "panic" {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            if what.ends_with("later") {
                awaited.notified().await;
            }
            let status = what.split(' ').next().unwrap();
            Response::builder()
                .status(status)
                .header("x-from", "handler")
                .body(Body::empty())
                .unwrap()
        };
        let router = Router::new().route("/", any(handler)).layer(layer.build().unwrap());
        Self { router, calls, notify }
    }

    async fn ask(&self, request: Request<Body>) -> Response<Bytes> {
        whole(self.router.clone().oneshot(request).await.unwrap()).await
    }

    fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    fn finish(&self) {
        self.notify.notify_one();
    }
}

fn by(status: &'static str) -> Request<Body> {
    let mut request = get();
    request.headers_mut().insert("x-status", status.parse().unwrap());
    request
}

/// Counts in windows, by a clock that the test moves.
fn fixed(storage: impl Storage, limit: u64) -> (Limiter, ManualClock) {
    of(storage, Rule::per_minute("api", limit).algorithm(Algorithm::FixedWindow))
}

/// Lets one request a second through, of which `burst` may wait.
fn leaky(storage: impl Storage, burst: u64) -> (Limiter, ManualClock) {
    let rule = Rule::per_second("api", 1).algorithm(Algorithm::LeakyBucket).burst(burst);
    of(storage, rule)
}

fn of(storage: impl Storage, rule: Rule) -> (Limiter, ManualClock) {
    let clock = ManualClock::at(begin());
    let limiter = Limiter::builder(storage).clock(clock.clone()).build();
    limiter.add_rule(rule).unwrap();
    (limiter, clock)
}

async fn left(limiter: &Limiter) -> u64 {
    limiter.peek("192.0.2.1", "api").await.unwrap().remaining()
}

/// Lets what can go on go on, until it waits for the clock.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn counts_failed_logins_only(storage: impl Storage) {
    let (limiter, _) = fixed(storage, 2);
    let throttle = Throttle::new(&limiter).charge_if(|response| response.status() == 401);
    let app = Served::new(throttle).await;
    for _ in 0..3 {
        let response = app.ask(by("200")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "ratelimit"), r#""api";r=2;t=0"#);
        assert_eq!(left(&limiter).await, 2, "it was given back before the response was sent");
    }
    for (status, fields) in [("401", r#""api";r=1;t=60"#), ("401", r#""api";r=0;t=60"#)] {
        assert_eq!(field(&app.ask(by(status)).await, "ratelimit"), fields);
    }
    let response = app.ask(by("200")).await;
    assert_eq!(response.status(), 429, "the limit is kept while nothing is given back");
    assert_eq!(field(&response, "retry-after"), "60");
}

#[tokio::test]
async fn charge_if_counts_failed_logins_only() {
    counts_failed_logins_only(MemoryStorage::new()).await;
}

#[tokio::test]
async fn charge_if_waits_for_a_storage_that_answers_later() {
    counts_failed_logins_only(Later::default()).await;
}

#[tokio::test]
async fn charge_if_sees_the_fields_of_the_response() {
    let (limiter, _) = fixed(MemoryStorage::new(), 2);
    let throttle = Throttle::new(&limiter)
        .charge_if(|response| response.header("x-from").is_none_or(|from| from != "handler"));
    Served::new(throttle).await.ask(by("200")).await;
    assert_eq!(left(&limiter).await, 2);
}

#[tokio::test]
async fn what_is_given_back_goes_to_the_window_that_was_charged() {
    let (limiter, clock) = fixed(MemoryStorage::new(), 2);
    let throttle = Throttle::new(&limiter).charge_if(|response| response.status() != 304);
    let served = Served::new(throttle).await;
    let app = served.clone();
    let first = start(async move { app.ask(by("304 later")).await });
    settle().await;
    assert_eq!(left(&limiter).await, 1);
    clock.advance(Duration::from_secs(60));
    assert_eq!(served.ask(by("200")).await.status(), 200);
    served.finish();
    assert_eq!(first.await.unwrap().status(), 304);
    assert_eq!(left(&limiter).await, 1, "the later window keeps its charge");
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_response_stays_charged() {
    let (limiter, _) = fixed(MemoryStorage::new(), 2);
    let app = Served::new(Throttle::new(&limiter).charge_if(|_| false)).await;
    let asking = start(async move { app.ask(by("200 later")).await });
    settle().await;
    asking.abort();
    settle().await;
    assert_eq!(left(&limiter).await, 1);
}

#[tokio::test]
async fn a_handler_that_panics_stays_charged() {
    let (limiter, _) = fixed(MemoryStorage::new(), 2);
    let app = Served::new(Throttle::new(&limiter).charge_if(|_| false)).await;
    let asking = start(async move { app.ask(by("panic")).await });
    assert!(asking.await.is_err());
    assert_eq!(left(&limiter).await, 1);
}

async fn waits_for_its_turn(storage: impl Storage) {
    let (limiter, clock) = leaky(storage, 3);
    let served = Served::new(Throttle::new(&limiter).shape()).await;
    assert_eq!(served.ask(get()).await.status(), 200);
    let app = served.clone();
    let second = start(async move { app.ask(get()).await });
    settle().await;
    assert_eq!(served.calls(), 1, "the second waits");
    clock.advance(Duration::from_millis(999));
    settle().await;
    assert_eq!(served.calls(), 1);
    clock.advance(Duration::from_millis(1));
    settle().await;
    assert_eq!(served.calls(), 2);
    assert_eq!(second.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_shaped_request_waits_for_its_turn() {
    waits_for_its_turn(MemoryStorage::new()).await;
}

#[tokio::test]
async fn a_shaped_request_waits_for_its_turn_after_a_storage_that_answers_later() {
    waits_for_its_turn(Later::default()).await;
}

async fn refuses_a_turn_that_is_far(storage: impl Storage) {
    let (limiter, _) = leaky(storage, 5);
    let throttle = Throttle::new(&limiter).shape_at_most(Duration::from_millis(500));
    let app = Served::new(throttle).await;
    assert_eq!(app.ask(get()).await.status(), 200);
    for _ in 0..3 {
        let response = app.ask(get()).await;
        assert_eq!((response.status().as_u16(), field(&response, "retry-after")), (429, "1"));
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(body.contains(r#""violated-policies":["api"]"#), "{body}");
        assert_eq!(left(&limiter).await, 4, "its place was given back");
    }
    assert_eq!(app.calls(), 1);
}

#[tokio::test]
async fn a_turn_that_is_too_far_away_is_refused_and_given_back() {
    refuses_a_turn_that_is_far(MemoryStorage::new()).await;
    refuses_a_turn_that_is_far(Later::default()).await;
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_gives_its_place_back() {
    let (limiter, clock) = leaky(MemoryStorage::new(), 5);
    let served = Served::new(Throttle::new(&limiter).shape()).await;
    assert_eq!(served.ask(get()).await.status(), 200);
    let app = served.clone();
    let waiting = start(async move { app.ask(get()).await });
    settle().await;
    assert_eq!(left(&limiter).await, 3);
    waiting.abort();
    settle().await;
    assert_eq!(left(&limiter).await, 4);
    clock.advance(Duration::from_secs(1));
    settle().await;
    assert_eq!(served.calls(), 1);
}

#[tokio::test]
async fn a_dry_run_waits_for_no_turn() {
    let (limiter, _) = leaky(MemoryStorage::new(), 2);
    let app = Served::new(Throttle::new(&limiter).shape().dry_run()).await;
    for marked in [false, false, true] {
        let response = app.ask(get()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().contains_key("x-ratelimit-dry-run"), marked);
    }
}

#[tokio::test]
async fn a_request_that_is_followed_fails_as_others_do() {
    let storage = Failing::default();
    let (limiter, _) = fixed(storage.clone(), 2);
    let strict = Served::new(Throttle::new(&limiter).shape().charge_if(|_| true)).await;
    let open = Throttle::new(&limiter).shape().charge_if(|_| false).on_error(OnError::Pass);
    let open = Served::new(open).await;
    storage.set_down(true);
    assert_eq!(strict.ask(get()).await.status(), 503);
    let response = open.ask(get()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "x-ratelimit-degraded"), "unlimited");
}
