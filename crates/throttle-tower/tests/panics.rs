//! Functions of the user's that panic, among the options and behind them, harm nobody else.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, body::Body, routing::any};
use bytes::Bytes;
use http::{Request, Response};
use throttle_core::Limiter;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{Trap, handler, run_panics};
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{Later, whole};

async fn router(options: Options, limiter: Limiter, trap: Trap) -> Router {
    let handler = async move || {
        trap.spring();
        handler().map(Body::from)
    };
    let layer = RateThrottleLayer::from_options(limiter, options).build().unwrap();
    Router::new().route("/", any(handler)).layer(layer)
}

/// Asks in a task of its own, as servers do.
async fn ask(app: &Router, request: Request<Bytes>) -> Option<Response<Bytes>> {
    let app = app.clone();
    let task = tokio::spawn(async move {
        let Ok(response) = app.oneshot(request.map(Body::from)).await;
        whole(response).await
    });
    task.await.ok()
}

#[tokio::test]
async fn a_panic_is_that_of_one_request() {
    assert!(run_panics(MemoryStorage::new, router, ask).await > 100);
}

#[tokio::test]
async fn a_panic_is_that_of_one_request_where_the_storage_answers_later() {
    assert!(run_panics(Later::default, router, ask).await > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_panic_in_one_thread_of_several_is_that_of_one_request() {
    assert!(run_panics(MemoryStorage::new, router, ask).await > 100);
    assert!(run_panics(Later::default, router, ask).await > 100);
}
