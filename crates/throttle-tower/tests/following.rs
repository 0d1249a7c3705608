//! Requests that wait for their turn, and those whose charge depends on their response.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, body::Body, http::HeaderMap, routing::any};
use bytes::Bytes;
use http::{Request, Response};
use throttle_core::Limiter;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{Handler, run_following};
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{Later, get, limiter, whole};

fn layer(options: Options, limiter: Limiter) -> RateThrottleLayer {
    RateThrottleLayer::from_options(limiter, options).build().unwrap()
}

async fn router(options: Options, limiter: Limiter, handler: Handler) -> Router {
    let handler = async move |fields: HeaderMap| {
        let what = fields.get("x-do").map_or("", |what| what.to_str().unwrap());
        handler.answer(what).await.map(Body::from)
    };
    Router::new().route("/", any(handler)).layer(layer(options, limiter))
}

async fn call(app: &Router, request: Request<Bytes>) -> Response<Bytes> {
    let Ok(response) = app.clone().oneshot(request.map(Body::from)).await;
    whole(response).await
}

#[tokio::test]
async fn turns_and_outcomes_are_those_of_every_adapter() {
    run_following(MemoryStorage::new, router, call).await;
}

#[tokio::test]
async fn turns_and_outcomes_are_those_of_every_adapter_where_the_storage_answers_later() {
    run_following(Later::default, router, call).await;
}

#[tokio::test]
async fn a_handler_that_panics_stays_charged() {
    let limiter = limiter(MemoryStorage::new(), 2);
    let panics = async || -> () { std::panic::resume_unwind(Box::new("on purpose")) };
    let layer = layer(Options::new().charge_if(|_| false), limiter.clone());
    let app: Router = Router::new().route("/", any(panics)).layer(layer);
    assert!(tokio::spawn(app.oneshot(get())).await.is_err());
    assert_eq!(limiter.peek("192.0.2.1", "api").await.unwrap().remaining(), 1);
}
