//! How handlers of axum read the decisions.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Extension, Router, body::to_bytes, routing::get as on_get};
use http::Request;
use throttle_core::Decisions;
use throttle_memory::MemoryStorage;
use throttle_testkit::Log;
use throttle_tower::{RateDecisions, RateThrottleLayer};
use tower::ServiceExt;

use common::{PEER, limiter};

fn remaining(decisions: &Decisions) -> String {
    decisions.most_restrictive().remaining().to_string()
}

async fn show(decisions: RateDecisions) -> String {
    remaining(&decisions)
}

async fn show_if_known(decisions: Option<RateDecisions>) -> String {
    decisions.map_or("unknown".to_owned(), |decisions| remaining(&decisions.into_inner()))
}

async fn call(app: &Router, path: &str) -> (u16, String) {
    let mut request = Request::get(path).body(axum::body::Body::empty()).unwrap();
    request.extensions_mut().insert(PEER);
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_handler_reads_the_decisions_of_its_request() {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 9));
    let extension = async |Extension(decisions): Extension<Decisions>| remaining(&decisions);
    let app = Router::new()
        .route("/extractor", on_get(show))
        .route("/extension", on_get(extension))
        .route("/pattern", on_get(async |RateDecisions(one): RateDecisions| remaining(&one)))
        .route("/option", on_get(show_if_known))
        .route("/exempt", on_get(show_if_known))
        .layer(layer.exempt(|head| head.path() == "/exempt"));
    for (path, expected) in [
        ("/extractor", "8"),
        ("/extension", "7"),
        ("/pattern", "6"),
        ("/option", "5"),
        ("/exempt", "unknown"),
    ] {
        assert_eq!(call(&app, path).await, (200, expected.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn without_a_layer_a_handler_that_takes_decisions_is_answered_with_500_and_the_reason_is_logged_once()
 {
    let (log, _guard) = Log::start();
    let app = Router::new().route("/", on_get(show));
    for _ in 0..2 {
        assert_eq!(call(&app, "/").await, (500, String::new()));
    }
    let logged = log.take();
    assert_eq!(logged.matches("wrap its handler in the middleware").count(), 1, "{logged}");
}
