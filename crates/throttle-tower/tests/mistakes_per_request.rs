//! A limiter that is made for each request is a line of the log; a program of its own, since it is counted by
//! the process.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, body::Body, routing::get as on_get};
use http::Request;
use throttle_core::Rule;
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
async fn a_limiter_that_is_made_for_each_request_is_noticed() {
    let (log, _guard) = Log::start();
    let mut said = String::new();
    for i in 0..100 {
        let app = router(RateThrottleLayer::new(Rule::per_day("api", 1)));
        ask(&app, get()).await;
        drop(app);
        said += &log.take();
        assert!(i >= 31 || said.is_empty(), "{i} of them are no reason yet");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["WARN", "32 limiters", "make the layer once"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }

    let limiter = limiter(MemoryStorage::new(), 1000);
    for _ in 0..100 {
        ask(&router(RateThrottleLayer::new(&limiter)), get()).await;
    }
    assert_eq!(log.take(), "", "of one limiter, layers may come and go");
}
