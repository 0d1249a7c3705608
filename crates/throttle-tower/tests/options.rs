//! Each option of the layer does what its name says; the table of cases takes them all at once.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, body::Body, routing::any};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use throttle_core::{Rule, Value};
use throttle_http::{
    Denial, Headers, RequestHead,
    identity::{ClientIp, Header},
};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{field, get, limiter, whole};

fn of(limit: u64) -> RateThrottleLayer {
    RateThrottleLayer::new(limiter(MemoryStorage::new(), limit))
}

struct App(Router);

impl App {
    fn new(layer: RateThrottleLayer) -> Self {
        let layer = layer.build().unwrap();
        Self(Router::new().route("/", any(|| async { "hello" })).layer(layer))
    }

    async fn ask(&self, request: Request<Body>) -> Response<Bytes> {
        whole(self.0.clone().oneshot(request).await.unwrap()).await
    }

    async fn status(&self, request: Request<Body>) -> u16 {
        self.ask(request).await.status().as_u16()
    }
}

fn with(name: &'static str, value: &'static str) -> Request<Body> {
    let mut request = get();
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn by(method: Method) -> Request<Body> {
    let mut request = get();
    *request.method_mut() = method;
    request
}

#[tokio::test]
async fn a_layer_of_one_rule_keeps_its_counts_in_memory() {
    let app = App::new(RateThrottleLayer::new(Rule::per_day("api", 1)));
    assert_eq!(app.status(get()).await, 200);
    assert_eq!(app.status(get()).await, 429);
}

#[tokio::test]
async fn rule_and_limit_pick_what_applies() {
    let limiter = limiter(MemoryStorage::new(), 1);
    limiter.add_rule(Rule::per_day("daily", 5)).unwrap();
    let all = App::new(RateThrottleLayer::new(&limiter)).ask(get()).await;
    assert!(field(&all, "ratelimit-policy").starts_with(r#""api";q=1;w=60, "daily";q=5"#));
    let one = App::new(RateThrottleLayer::new(&limiter).rule("daily")).ask(get()).await;
    assert_eq!(field(&one, "ratelimit-policy"), r#""daily";q=5;w=86400"#);
    let added = App::new(RateThrottleLayer::new(&limiter).limit("login", "2/minute").rule("daily"));
    let policy = r#""login";q=2;w=60, "daily";q=5;w=86400"#;
    assert_eq!(field(&added.ask(get()).await, "ratelimit-policy"), policy);
}

#[tokio::test]
async fn key_says_who_is_limited() {
    let app = App::new(of(1).key((Header::new("x-tenant"), ClientIp::new())));
    assert_eq!(app.status(with("x-tenant", "a")).await, 200);
    assert_eq!(app.status(with("x-tenant", "a")).await, 429);
    assert_eq!(app.status(with("x-tenant", "b")).await, 200);
    assert_eq!(app.status(get()).await, 400);
}

#[tokio::test]
async fn cost_is_a_number_or_a_function() {
    let app = App::new(of(4).cost(3));
    assert_eq!((app.status(get()).await, app.status(get()).await), (200, 429));
    let app = App::new(of(4).cost(|head: &RequestHead<'_>| head.headers().len() as u64 + 3));
    assert_eq!((app.status(get()).await, app.status(with("x-more", "1")).await), (200, 429));
}

#[tokio::test]
async fn methods_and_exempt_let_pass() {
    let app = App::new(of(1).methods([Method::POST]).exempt(|head| head.header("x-in").is_some()));
    assert_eq!(app.status(by(Method::POST)).await, 200);
    assert_eq!(app.status(by(Method::POST)).await, 429);
    assert_eq!(app.status(by(Method::GET)).await, 200);
    let reads = App::new(of(1).methods([Method::GET]));
    assert_eq!(reads.status(by(Method::HEAD)).await, 200);
    assert_eq!(reads.status(by(Method::HEAD)).await, 429, "what GET answers, HEAD does");
    assert_eq!(reads.status(by(Method::POST)).await, 200);
    let mut internal = with("x-in", "1");
    *internal.method_mut() = Method::POST;
    assert_eq!(app.status(internal).await, 200);
}

#[tokio::test]
async fn headers_pick_the_fields() {
    let response = App::new(of(1).headers(Headers::none().legacy(true))).ask(get()).await;
    assert_eq!(field(&response, "x-ratelimit-remaining"), "0");
    assert!(response.headers().get("ratelimit").is_none());
}

#[tokio::test]
async fn on_denied_answers_with_any_kind_of_body() {
    fn bytes<T: Default>(_: &Denial<'_>) -> Response<T> {
        Response::builder().status(StatusCode::IM_A_TEAPOT).body(T::default()).unwrap()
    }
    let layers = [
        of(1).on_denied(bytes::<&'static str>),
        of(1).on_denied(bytes::<String>),
        of(1).on_denied(bytes::<Vec<u8>>),
        of(1).on_denied(bytes::<Bytes>),
    ];
    for layer in layers {
        let app = App::new(layer);
        assert_eq!((app.status(get()).await, app.status(get()).await), (200, 418));
        assert_eq!(field(&app.ask(get()).await, "retry-after"), "60");
    }
}

#[tokio::test]
async fn dry_run_refuses_nobody() {
    let app = App::new(of(1).dry_run());
    assert_eq!(app.status(get()).await, 200);
    assert_eq!(field(&app.ask(get()).await, "x-ratelimit-dry-run"), "denied");
}

#[tokio::test]
async fn an_option_changes_the_layer_that_it_returns_and_no_other() {
    let base = of(1).build().unwrap();
    let twice = base.clone().cost(2);
    let app = App::new(base);
    assert_eq!(App::new(twice).status(get()).await, 429);
    assert_eq!(app.status(get()).await, 200);
}

#[tokio::test]
async fn the_counts_of_a_layer_are_where_the_limiter_keeps_them() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let app = App::new(RateThrottleLayer::new(&limiter));
    limiter.storage().set("mine", Value::from(1), None).await.unwrap();
    assert_eq!(app.status(get()).await, 200);
    assert!(!limiter.peek("192.0.2.1", "api").await.unwrap().is_allowed());
    limiter.reset("192.0.2.1", "api").await.unwrap();
    assert_eq!(app.status(get()).await, 200);
}
