//! Each method of the layer sets the option of its name; the suite tests the effect of the options.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use axum::{Router, body::Body, routing::any};
use http::{Method, Request, Response};
use throttle_core::{Algorithm, Decisions, Limiter, Rule};
use throttle_http::{ActualCost, Headers, OnError, RequestHead, identity::Header};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::time::timeout;
use tower::ServiceExt;

use common::{Failing, PEER, field, get, limiter, whole};

fn of(limit: u64) -> RateThrottleLayer {
    RateThrottleLayer::new(limiter(MemoryStorage::new(), limit))
}

/// Sends each request, one after the other, to a handler whose body has a byte and that reports a cost of two.
async fn responses<const N: usize>(
    layer: RateThrottleLayer,
    requests: [Request<Body>; N],
) -> [Response<Body>; N] {
    let handler = async |request: Request<Body>| {
        if let Some(cost) = request.extensions().get::<ActualCost>() {
            cost.set(2);
        }
        "."
    };
    let app = Router::new().route("/{*path}", any(handler)).route("/", any(handler));
    let app: Router = app.layer(layer.build().unwrap());
    let mut responses = Vec::new();
    for request in requests {
        responses.push(app.clone().oneshot(request).await.unwrap());
    }
    responses.try_into().unwrap()
}

async fn statuses<const N: usize>(
    layer: RateThrottleLayer,
    requests: [Request<Body>; N],
) -> [u16; N] {
    responses(layer, requests).await.map(|response| response.status().as_u16())
}

/// Returns how many of ten requests remain after one request.
async fn left(limited: impl FnOnce(RateThrottleLayer) -> RateThrottleLayer) -> u64 {
    let limiter = limiter(MemoryStorage::new(), 10);
    let [response] = responses(limited(RateThrottleLayer::new(&limiter)), [get()]).await;
    whole(response).await;
    limiter.peek("192.0.2.1", "api").await.unwrap().remaining()
}

fn with(name: &'static str, value: &'static str) -> Request<Body> {
    let mut request = get();
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn to(method: Method, path: &'static str) -> Request<Body> {
    let mut request = get();
    (*request.method_mut(), *request.uri_mut()) = (method, path.parse().unwrap());
    request
}

#[tokio::test]
async fn options_set_the_key_and_the_exemptions() {
    let tenants = [with("x-tenant", "a"), with("x-tenant", "a"), with("x-tenant", "b"), get()];
    let by_tenant = of(1).key(Header::new("x-tenant"));
    assert_eq!(statuses(by_tenant, tenants).await, [200, 429, 200, 400]);
    let nowhere = || Request::new(Body::empty());
    let by_peer = of(1).peer(|_| Some(PEER));
    assert_eq!(statuses(by_peer, [nowhere(), nowhere()]).await, [200, 429]);
    assert_eq!(statuses(of(4).cost(3), [get(), get()]).await, [200, 429]);
    let by_fields = of(4).cost(|head: &RequestHead<'_>| head.headers().len() as u64 + 3);
    assert_eq!(statuses(by_fields, [get(), with("x-more", "1")]).await, [200, 429]);

    let post = |path| to(Method::POST, path);
    let posts = of(1).methods([Method::POST]);
    assert_eq!(statuses(posts, [post("/"), post("/"), get()]).await, [200, 429, 200]);
    let mut preflight = with("access-control-request-method", "PUT");
    preflight.headers_mut().insert("origin", "https://example.org".parse().unwrap());
    *preflight.method_mut() = Method::OPTIONS;
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    for (layer, exempt) in [
        (of(1).exempt(|head| head.header("x-in").is_some()), with("x-in", "1")),
        (of(1).exempt_paths(["/static/*"]), to(Method::GET, "/static/a.css")),
        (of(1).exempt_health_checks(), to(Method::GET, "/healthz")),
        (of(1).exempt_preflight(), preflight),
        (of(1).exempt_grpc_health(), post("/grpc.health.v1.Health/Check")),
        (of(1).exempt_grpc_reflection(), post(reflection)),
    ] {
        assert_eq!(statuses(layer, [get(), exempt, get()]).await, [200, 200, 429]);
    }
}

#[tokio::test]
async fn options_select_the_rules() {
    let limiter = limiter(MemoryStorage::new(), 1);
    limiter.add_rule(Rule::per_day("daily", 5)).unwrap();
    let layer = || RateThrottleLayer::new(&limiter);
    assert!(layer().declare_rules(["gold"]).build().is_err());
    for (layer, policy) in [
        (layer().rule("daily"), r#""daily";q=5;w=86400"#),
        (layer().select_rules(|_, _| "daily"), r#""daily";q=5;w=86400"#),
        (layer().limit("login", "2/minute"), r#""login";q=2;w=60"#),
    ] {
        let [response] = responses(layer, [get()]).await;
        assert_eq!(field(&response, "ratelimit-policy"), policy);
    }
}

#[tokio::test]
async fn options_set_the_response() {
    let [response] = responses(of(1).headers(Headers::none().legacy(true)), [get()]).await;
    assert_eq!(field(&response, "x-ratelimit-remaining"), "0");
    assert!(response.headers().get("ratelimit").is_none());
    let [response] = responses(of(1).response_extension(true), [get()]).await;
    assert!(response.extensions().get::<Decisions>().is_some());
    let teapot = of(1).on_rejection(|_| axum::http::StatusCode::IM_A_TEAPOT);
    assert_eq!(statuses(teapot, [get(), get()]).await, [200, 418]);
    let storage = Failing::default();
    storage.set_down(true);
    let open = RateThrottleLayer::new(limiter(storage, 1)).on_error(OnError::Pass);
    assert_eq!(statuses(open, [get()]).await, [200]);
    let [_, response] = responses(of(1).dry_run(), [get(), get()]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "x-ratelimit-dry-run"), "denied");
}

#[tokio::test]
async fn options_set_the_charge() {
    assert_eq!(left(|layer| layer.charge_if(|_| false)).await, 10);
    assert_eq!(left(|layer| layer.cost(5).charge_actual()).await, 8);
    assert_eq!(left(|layer| layer.cost(5).charge_actual_by(|_| Some(4))).await, 6);
    assert_eq!(left(|layer| layer.cost(5).charge_bytes_sent()).await, 7, "two, and one byte");
}

#[tokio::test]
async fn options_limit_requests_in_flight_and_delay_them() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    let _permit = uploads.try_acquire("192.0.2.1").await.unwrap();
    let layer = RateThrottleLayer::new(&limiter).concurrency(uploads);
    assert_eq!(statuses(layer, [get()]).await, [429]);

    let queue = || {
        let limiter = Limiter::new(MemoryStorage::new());
        let rule = Rule::per_minute("even", 1).algorithm(Algorithm::LeakyBucket).burst(9);
        limiter.add_rule(rule).unwrap();
        RateThrottleLayer::new(limiter)
    };
    assert_eq!(statuses(queue().shape_at_most(Duration::ZERO), [get(), get()]).await, [200, 429]);
    let waits = timeout(Duration::from_millis(50), statuses(queue().shape(), [get(), get()]));
    assert!(waits.await.is_err(), "the second request waits");
}

#[tokio::test]
async fn an_option_changes_only_the_layer_that_it_returns() {
    let base = of(1).build().unwrap();
    let twice = base.clone().cost(2);
    assert_eq!(statuses(twice, [get()]).await, [429]);
    assert_eq!(statuses(base, [get()]).await, [200]);
}
