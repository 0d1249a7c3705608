//! What looks like a mistake is a line of the log that names what to do, and one only.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, body::Body, routing::get as on_get};
use http::Request;
use throttle_core::Rule;
use throttle_http::RequestHead;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{Log, get, limiter};

fn router(layer: RateThrottleLayer) -> Router {
    Router::new().route("/", on_get(|| async { "hello" })).layer(layer)
}

async fn ask(app: &Router, request: Request<Body>) {
    assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn requests_that_are_charged_twice_by_one_rule_are_noticed() {
    let (log, _guard) = Log::start();
    let limiter = limiter(MemoryStorage::new(), 99);
    limiter.add_rule(Rule::per_day("daily", 99)).unwrap();
    let layer = |rule: &str| RateThrottleLayer::new(&limiter).rule(rule);
    let apart = router(layer("api")).layer(layer("daily"));
    let by_key = layer("api").key(|_: &RequestHead<'_>| "everybody");
    let by_two_keys = router(layer("api")).layer(by_key);
    for _ in 0..16 {
        ask(&by_two_keys, get()).await;
        ask(&apart, get()).await;
    }
    assert_eq!(log.take(), "", "other rules, or other keys, are no mistake");

    let twice = router(layer("api").cost(2)).layer(layer("api"));
    for _ in 0..16 {
        ask(&twice, get()).await;
    }
    let lines = log.take();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    for word in ["WARN", "\"api\"", "twice"] {
        assert!(lines.contains(word), "{word} is not in: {lines}");
    }
}
