//! Requests that are charged an estimate and settled to what they turned out to cost.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use throttle_core::{Algorithm, Limiter, ManualClock, Rule, Storage};
use throttle_http::ActualCost;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::task::spawn as start;
use tower::ServiceExt;

use common::{Chunks, Later, Sender, begin, field, get, whole};

const ESTIMATE: u64 = 10;

/// Has a handler that does what the request says, and says that it cost as much.
#[derive(Clone)]
struct Served {
    router: Router,
    body: Arc<Mutex<Option<(Sender, ActualCost)>>>,
}

impl Served {
    fn new(layers: impl IntoIterator<Item = RateThrottleLayer>) -> Self {
        let body: Arc<Mutex<Option<(Sender, ActualCost)>>> = Arc::default();
        let streamed = Arc::clone(&body);
        let handler = async move |headers: HeaderMap, Extension(cost): Extension<ActualCost>| {
            let number = |name| headers.get(name)?.to_str().ok()?.parse().ok();
            if let Some(actual) = number("x-cost") {
                cost.set(actual);
            }
            match headers.get("x-do").map_or("", |what| what.to_str().unwrap()) {
                "panic" => std::panic::resume_unwind(Box::new("on purpose")),
                "wait" => pending().await,
                "stream" => {
                    let (sender, body) = Chunks::new();
                    *streamed.lock().unwrap() = Some((sender, cost));
                    Body::new(body).into_response()
                }
                "304" => axum::http::StatusCode::NOT_MODIFIED.into_response(),
                _ => ([("x-tokens", number("x-tokens").unwrap_or(0).to_string())], "hello")
                    .into_response(),
            }
        };
        let mut router = Router::new().route("/", any(handler));
        for layer in layers {
            router = router.layer(layer.cost(ESTIMATE).build().unwrap());
        }
        Self { router, body }
    }

    async fn begin(&self, fields: &[(&'static str, &'static str)]) -> Response {
        let mut request = get();
        for (name, value) in fields {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn ask(&self, fields: &[(&'static str, &'static str)]) -> http::Response<Bytes> {
        whole(self.begin(fields).await).await
    }

    /// Lets the handler's stream send a chunk, and say what it cost.
    fn send(&self, chunk: &'static str, cost: u64) {
        let body = self.body.lock().unwrap();
        let (sender, actual) = body.as_ref().unwrap();
        actual.add(cost);
        sender.send(Ok(chunk.into())).unwrap();
    }

    fn end_body(&self) {
        *self.body.lock().unwrap() = None;
    }
}

fn limiter(storage: impl Storage, rules: &[Rule]) -> (Limiter, ManualClock) {
    let clock = ManualClock::at(begin());
    let limiter = Limiter::builder(storage).clock(clock.clone()).build();
    for rule in rules {
        limiter.add_rule(rule.clone()).unwrap();
    }
    (limiter, clock)
}

fn tokens(limit: u64) -> Rule {
    Rule::per_minute("tokens", limit).algorithm(Algorithm::FixedWindow)
}

fn served(limit: u64) -> (Served, Limiter, ManualClock) {
    let (limiter, clock) = limiter(MemoryStorage::new(), &[tokens(limit)]);
    (Served::new([RateThrottleLayer::new(&limiter).charge_actual()]), limiter, clock)
}

async fn left(limiter: &Limiter) -> u64 {
    limiter.peek("192.0.2.1", "tokens").await.unwrap().remaining()
}

/// Lets what can go on go on.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_is_settled_to_what_the_handler_says_by_every_algorithm() {
    for algorithm in Algorithm::ALL {
        for (cost, expected) in [("0", 100), ("3", 97), ("10", 90), ("25", 75), ("100", 0)] {
            let rule = Rule::per_minute("tokens", 100).algorithm(algorithm);
            let (limiter, _) = limiter(MemoryStorage::new(), &[rule]);
            let app = Served::new([RateThrottleLayer::new(&limiter).charge_actual()]);
            let response = app.ask(&[("x-cost", cost)]).await;
            assert!(field(&response, "ratelimit").starts_with(r#""tokens";r=90;"#), "the estimate");
            assert_eq!(left(&limiter).await, expected, "{algorithm}, {cost}");
        }
    }
}

#[tokio::test]
async fn where_nothing_is_said_the_estimate_stands() {
    let (app, limiter, _) = served(100);
    app.ask(&[]).await;
    assert_eq!(left(&limiter).await, 90);
}

#[tokio::test]
async fn what_finds_no_room_is_forgiven_and_neither_denied_nor_counted() {
    let rule = tokens(100).block(Duration::from_secs(60));
    let (limiter, _) = limiter(MemoryStorage::new(), &[rule]);
    let app = Served::new([RateThrottleLayer::new(&limiter).charge_actual()]);
    app.ask(&[("x-cost", "1000")]).await;
    assert_eq!(left(&limiter).await, 0);
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.denied, metrics.violations), (1, 0, 0));
    let peeked = limiter.peek("192.0.2.1", "tokens").await.unwrap();
    assert!(!peeked.is_blocked(), "it shuts nobody out");
    assert_eq!(app.ask(&[]).await.status(), 429);
}

#[tokio::test]
async fn each_rule_is_charged_as_far_as_it_has_room() {
    let day = Rule::per_day("day", 15).algorithm(Algorithm::FixedWindow);
    let (limiter, _) = limiter(MemoryStorage::new(), &[tokens(100), day]);
    let app = Served::new([RateThrottleLayer::new(&limiter).charge_actual()]);
    app.ask(&[("x-cost", "40")]).await;
    assert_eq!(left(&limiter).await, 60);
    assert_eq!(limiter.peek("192.0.2.1", "day").await.unwrap().remaining(), 0);
}

#[tokio::test]
async fn a_stream_says_what_it_costs_while_it_is_sent() {
    let (app, limiter, _) = served(100);
    let mut response = app.begin(&[("x-do", "stream")]).await;
    for cost in [1, 2, 30] {
        app.send("chunk", cost);
        response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(left(&limiter).await, 90, "the estimate, until the end");
    }
    app.end_body();
    assert!(response.body_mut().frame().await.is_none());
    assert_eq!(left(&limiter).await, 67);
}

#[tokio::test]
async fn a_client_that_goes_away_during_the_body_pays_what_is_known() {
    let (app, limiter, _) = served(100);
    let mut response = app.begin(&[("x-do", "stream")]).await;
    app.send("chunk", 4);
    response.body_mut().frame().await.unwrap().unwrap();
    let (_sender, late) = app.body.lock().unwrap().clone().unwrap();
    drop(response);
    assert_eq!(left(&limiter).await, 96);
    late.add(50);
    assert_eq!(left(&limiter).await, 96, "it comes too late");
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_response_pays_what_is_known_or_the_estimate() {
    for (fields, expected) in
        [(&[("x-do", "wait"), ("x-cost", "4")][..], 96), (&[("x-do", "wait")], 90)]
    {
        let (app, limiter, _) = served(100);
        let asking = start(async move { app.ask(fields).await });
        settle().await;
        asking.abort();
        settle().await;
        assert_eq!(left(&limiter).await, expected);
    }
}

#[tokio::test]
async fn a_handler_that_panics_pays_what_it_said() {
    let (app, limiter, _) = served(100);
    let asking = start(async move { app.ask(&[("x-do", "panic"), ("x-cost", "4")]).await });
    assert!(asking.await.is_err());
    assert_eq!(left(&limiter).await, 96);
}

#[tokio::test]
async fn what_was_too_much_goes_back_to_the_window_that_was_charged_and_to_no_later_one() {
    let (app, limiter, clock) = served(100);
    let response = app.begin(&[("x-do", "stream")]).await;
    clock.advance(Duration::from_secs(60));
    app.ask(&[]).await;
    app.send("", 1);
    drop(response);
    assert_eq!(left(&limiter).await, 90, "the later window keeps what it was charged");
}

#[tokio::test]
async fn what_was_too_little_is_charged_to_the_window_in_which_it_is_known() {
    let (app, limiter, clock) = served(100);
    let response = app.begin(&[("x-do", "stream")]).await;
    clock.advance(Duration::from_secs(60));
    app.send("", 40);
    drop(response);
    assert_eq!(left(&limiter).await, 70);
}

#[tokio::test]
async fn what_the_head_of_the_response_tells_is_settled_before_it_is_sent() {
    let (limiter, _) = limiter(MemoryStorage::new(), &[tokens(100)]);
    let by_head = |limiter: &Limiter| {
        RateThrottleLayer::new(limiter)
            .charge_actual_by(|head| head.header("x-tokens")?.parse().ok().filter(|n| *n > 0))
    };
    let app = Served::new([by_head(&limiter)]);
    let response = app.begin(&[("x-tokens", "4"), ("x-cost", "50")]).await;
    assert_eq!(field(&response, "ratelimit"), r#""tokens";r=96;t=60"#);
    assert_eq!(left(&limiter).await, 96, "whatever the handler said");
    drop(response);
    let response = app.ask(&[("x-tokens", "26")]).await;
    assert_eq!(field(&response, "ratelimit"), r#""tokens";r=70;t=60"#);
    app.ask(&[("x-cost", "1")]).await;
    assert_eq!(left(&limiter).await, 69, "where the head tells nothing the handler does");
}

#[tokio::test]
async fn a_response_that_does_not_count_is_not_settled_but_given_back() {
    let (limiter, _) = limiter(MemoryStorage::new(), &[tokens(100)]);
    let layer = RateThrottleLayer::new(&limiter).charge_actual();
    let app = Served::new([layer.charge_if(|response| response.status() != 304)]);
    let response = app.ask(&[("x-do", "304"), ("x-cost", "40")]).await;
    assert_eq!(field(&response, "ratelimit"), r#""tokens";r=100;t=0"#);
    assert_eq!(left(&limiter).await, 100);
    app.ask(&[("x-cost", "40")]).await;
    assert_eq!(left(&limiter).await, 60);
}

#[tokio::test]
async fn bytes_are_charged_as_they_are_sent() {
    let (limiter, _) = limiter(MemoryStorage::new(), &[tokens(100)]);
    let app = Served::new([RateThrottleLayer::new(&limiter).charge_bytes_sent()]);
    assert_eq!(app.ask(&[]).await.body(), "hello");
    assert_eq!(left(&limiter).await, 95);
    let mut response = app.begin(&[("x-do", "stream")]).await;
    app.send("twenty bytes of text", 0);
    app.send("never seen", 0);
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    assert_eq!(left(&limiter).await, 75, "what the client did not get is not charged");
    app.ask(&[("x-do", "304")]).await;
    assert_eq!(left(&limiter).await, 75, "nor is a response without a body");
    app.ask(&[("x-do", "304"), ("x-cost", "3")]).await;
    assert_eq!(left(&limiter).await, 72, "but for what the handler says");
}

#[tokio::test]
async fn nested_layers_hear_it_both() {
    let (limiter, _) = limiter(MemoryStorage::new(), &[tokens(100)]);
    let day = Rule::per_day("day", 500).algorithm(Algorithm::FixedWindow);
    limiter.add_rule(day).unwrap();
    let layer = |rule| RateThrottleLayer::new(&limiter).rule(rule).charge_actual();
    let app = Served::new([layer("tokens"), layer("day")]);
    app.ask(&[("x-cost", "4")]).await;
    assert_eq!(left(&limiter).await, 96);
    assert_eq!(limiter.peek("192.0.2.1", "day").await.unwrap().remaining(), 496);
}

#[tokio::test]
async fn a_storage_that_answers_later_is_settled_though_nobody_waits() {
    for (cost, expected) in [("4", 96), ("40", 60), ("4000", 0)] {
        let (limiter, _) = limiter(Later::default(), &[tokens(100)]);
        let app = Served::new([RateThrottleLayer::new(&limiter).charge_actual()]);
        app.ask(&[("x-cost", cost)]).await;
        settle().await;
        assert_eq!(left(&limiter).await, expected);
    }
}

#[tokio::test]
async fn who_is_allowed_or_asked_in_a_dry_run_is_settled_to_nothing() {
    let (limiter, _) = limiter(MemoryStorage::new(), &[tokens(15)]);
    limiter.allow_list().add("192.0.2.1").unwrap();
    let layer = RateThrottleLayer::new(&limiter).charge_actual().dry_run();
    // Nobody is charged, so that there is nothing that a handler could settle.
    let router = Router::new()
        .route(
            "/",
            any(|cost: Option<Extension<ActualCost>>| async move { cost.is_some().to_string() }),
        )
        .layer(layer.cost(ESTIMATE).build().unwrap());
    let ask = async || whole(router.clone().oneshot(get()).await.unwrap()).await.into_body();
    assert_eq!(ask().await, "false");
    limiter.allow_list().clear();
    assert_eq!(ask().await, "true");
    assert_eq!(ask().await, "false", "it would have been denied");
    assert_eq!(left(&limiter).await, 5);
}
