//! The table of HTTP cases, through each way in which a layer is laid around a handler, over a storage
//! that answers at once and over one that answers later.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    routing::{MethodRouter, any},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use throttle_core::Limiter;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{answers, handler, nested_answers, run, run_nested};
use throttle_tower::RateThrottleLayer;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

use common::{Later, whole};

fn layer(options: Options, limiter: Limiter) -> RateThrottleLayer {
    RateThrottleLayer::from_options(limiter, options).build().unwrap()
}

async fn respond() -> Response<Body> {
    handler().map(Body::from)
}

async fn router(options: Options, limiter: Limiter) -> Router {
    Router::new()
        .route("/{*path}", any(respond))
        .route("/", any(respond))
        .layer(layer(options, limiter))
}

async fn method_router(options: Options, limiter: Limiter) -> Router {
    let limited: MethodRouter = any(respond).layer(layer(options, limiter));
    Router::new().route("/{*path}", limited.clone()).route("/", limited)
}

async fn nested_router(outer: Options, inner: Options, limiter: Limiter) -> Router {
    router(inner, limiter.clone()).await.layer(layer(outer, limiter))
}

async fn layered_route(outer: Options, inner: Options, limiter: Limiter) -> Router {
    method_router(inner, limiter.clone()).await.layer(layer(outer, limiter))
}

/// Says where the connection comes from as axum does.
async fn call_router(router: &Router, mut request: Request<Bytes>) -> Response<Bytes> {
    if let Some(peer) = request.extensions_mut().remove::<SocketAddr>() {
        request.extensions_mut().insert(ConnectInfo(peer));
    }
    whole(router.clone().oneshot(request.map(Body::from)).await.unwrap()).await
}

type Plain = BoxCloneSyncService<Request<Full<Bytes>>, Response<Bytes>, Infallible>;

async fn plain(options: Options, limiter: Limiter) -> Plain {
    let inner = service_fn(|_: Request<Full<Bytes>>| async { Ok(handler().map(Full::new)) });
    let limited = layer(options, limiter).layer(inner);
    BoxCloneSyncService::new(limited.then(async |response: Result<_, Infallible>| {
        let Ok(response) = response;
        Ok(whole(response).await)
    }))
}

async fn nested_plain(outer: Options, inner: Options, limiter: Limiter) -> Plain {
    let inner =
        plain(inner, limiter.clone()).await.map_response(|response| response.map(Full::new));
    let limited = layer(outer, limiter).layer(inner);
    BoxCloneSyncService::new(limited.then(async |response: Result<_, Infallible>| {
        let Ok(response) = response;
        Ok(whole(response).await)
    }))
}

async fn call_plain(service: &Plain, request: Request<Bytes>) -> Response<Bytes> {
    let Ok(response) = service.clone().oneshot(request.map(Full::new)).await;
    response
}

#[tokio::test]
async fn a_router_with_the_layer_answers_as_the_table_says() {
    assert_eq!(run(MemoryStorage::new, router, call_router).await, answers());
}

#[tokio::test]
async fn a_method_router_with_the_layer_answers_as_the_table_says() {
    assert_eq!(run(MemoryStorage::new, method_router, call_router).await, answers());
}

#[tokio::test]
async fn a_plain_service_with_the_layer_answers_as_the_table_says() {
    assert_eq!(run(MemoryStorage::new, plain, call_plain).await, answers());
}

#[tokio::test]
async fn a_router_over_a_storage_that_answers_later_answers_as_the_table_says() {
    assert_eq!(run(Later::default, router, call_router).await, answers());
}

#[tokio::test]
async fn a_plain_service_over_a_storage_that_answers_later_answers_as_the_table_says() {
    assert_eq!(run(Later::default, plain, call_plain).await, answers());
}

#[tokio::test]
async fn layers_within_each_other_answer_as_the_table_says() {
    let answers = nested_answers();
    assert_eq!(run_nested(MemoryStorage::new, nested_router, call_router).await, answers);
    assert_eq!(run_nested(MemoryStorage::new, layered_route, call_router).await, answers);
    assert_eq!(run_nested(MemoryStorage::new, nested_plain, call_plain).await, answers);
    assert_eq!(run_nested(Later::default, nested_router, call_router).await, answers);
}
