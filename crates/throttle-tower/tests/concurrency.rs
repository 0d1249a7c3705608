//! Many at once, and a storage that fails.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use axum::{Router, routing::get as on_get};
use http::StatusCode;
use throttle_core::{Decisions, Storage};
use throttle_http::identity::Global;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{Failing, Later, Log, field, get, limiter, whole};

const THREADS: usize = 16;
const EACH: usize = 40;
const LIMIT: usize = 100;

/// Returns how many of all requests passed, and how often the handler was called.
fn storm(storage: impl Storage) -> (usize, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = async move || counted.fetch_add(1, SeqCst).to_string();
    let layer = RateThrottleLayer::new(limiter(storage, LIMIT as u64)).response_extension(true);
    let app: Router = Router::new().route("/", on_get(handler)).layer(layer);
    let start = Barrier::new(THREADS);
    let passed = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| ask_often(&app, &start))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    (passed, calls.load(SeqCst))
}

fn ask_often(app: &Router, start: &Barrier) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    start.wait();
    runtime.block_on(async {
        let mut passed = 0;
        for _ in 0..EACH {
            let response = app.clone().oneshot(get()).await.unwrap();
            let decisions = response.extensions().get::<Decisions>().expect("decisions");
            assert_eq!(decisions.is_allowed(), response.status() == StatusCode::OK);
            passed += usize::from(response.status() == StatusCode::OK);
        }
        passed
    })
}

#[test]
fn of_many_threads_exactly_as_many_requests_pass_as_the_limit_says() {
    assert_eq!(storm(MemoryStorage::new()), (LIMIT, LIMIT));
}

#[test]
fn of_many_threads_exactly_as_many_pass_where_the_storage_answers_later() {
    assert_eq!(storm(Later::default()), (LIMIT, LIMIT));
}

#[tokio::test]
async fn a_dry_run_holds_no_place_for_what_a_rule_would_deny() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let uploads = limiter.concurrency("uploads", 5).unwrap();
    let layer = RateThrottleLayer::new(&limiter).key(Global).rule("api").dry_run();
    let layer = layer.concurrency(uploads.clone()).build().unwrap();
    let in_use = async move || uploads.in_use("global").await.unwrap().to_string();
    let app: Router = Router::new().route("/", on_get(in_use)).layer(layer);
    for expected in ["1", "0", "0"] {
        let response = whole(app.clone().oneshot(get()).await.unwrap()).await;
        assert_eq!(response.body(), expected);
    }
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.denied), (3, 2));
}

#[tokio::test]
async fn while_the_storage_is_down_the_answer_is_503_and_the_handler_rests() {
    let (log, _guard) = Log::start();
    let storage = Failing::default();
    let layer = RateThrottleLayer::new(limiter(storage.clone(), 2)).response_extension(true);
    let app = router(layer);
    assert_eq!(status(&app).await, StatusCode::OK);
    storage.set_down(true);
    let response = whole(app.clone().oneshot(get()).await.unwrap()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(field(&response, "retry-after"), "1");
    assert_eq!(field(&response, "content-type"), "application/problem+json");
    assert!(response.headers().get("ratelimit").is_none(), "nothing is known of the limit");
    assert!(response.extensions().get::<Decisions>().is_none());
    let body = r#"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"Request cannot be satisfied due to temporary server capacity constraints","status":503}"#;
    assert_eq!(response.body(), body);
    let logged = log.take();
    assert!(logged.contains("ERROR") && logged.contains("connection refused"), "{logged}");
    storage.set_down(false);
    assert_eq!(status(&app).await, StatusCode::OK);
    assert_eq!(status(&app).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_rule_that_is_removed_under_load_is_503_and_no_panic() {
    let limiter = limiter(MemoryStorage::new(), 2);
    let app = router(RateThrottleLayer::new(&limiter).rule("api"));
    assert_eq!(status(&app).await, StatusCode::OK);
    assert!(limiter.remove_rule("api"));
    assert_eq!(status(&app).await, StatusCode::SERVICE_UNAVAILABLE);
}

fn router(layer: RateThrottleLayer) -> Router {
    Router::new().route("/", on_get(|| async { "hello" })).layer(layer)
}

async fn status(app: &Router) -> StatusCode {
    app.clone().oneshot(get()).await.unwrap().status()
}
