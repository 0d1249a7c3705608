//! The decisions stand beside the request, for handlers, and beside the response, for outer layers.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Extension, Router, routing::get as on_get};
use http::StatusCode;
use throttle_core::{Algorithm, Decisions, Listed, Rule};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{Later, get, limiter, whole};

async fn tell(Extension(decisions): Extension<Decisions>) -> String {
    let told = decisions.all().iter().map(|one| format!("{} {}", one.rule(), one.remaining()));
    told.collect::<Vec<_>>().join(", ")
}

async fn tell_if_known(decisions: Option<Extension<Decisions>>) -> &'static str {
    if decisions.is_some() { "known" } else { "unknown" }
}

#[tokio::test]
async fn a_handler_reads_the_decisions_of_its_request() {
    for layer in [
        RateThrottleLayer::new(limiter(MemoryStorage::new(), 3)).limit("web", "9/hour"),
        RateThrottleLayer::new(limiter(Later::default(), 3)).limit("web", "9/hour"),
    ] {
        let app = Router::new().route("/", on_get(tell)).layer(layer.rule("api"));
        let response = whole(app.clone().oneshot(get()).await.unwrap()).await;
        assert_eq!(response.body(), "web 8, api 2");
        let response = whole(app.oneshot(get()).await.unwrap()).await;
        assert_eq!(response.body(), "web 7, api 1");
    }
}

#[tokio::test]
async fn a_layer_around_this_one_reads_the_decisions_of_a_response() {
    for layer in [
        RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)),
        RateThrottleLayer::new(limiter(Later::default(), 1)),
    ] {
        let layer = layer.response_extension(true);
        let app: Router = Router::new().route("/", on_get(|| async {})).layer(layer);
        for (allowed, status) in [(true, StatusCode::OK), (false, StatusCode::TOO_MANY_REQUESTS)] {
            let response = app.clone().oneshot(get()).await.unwrap();
            assert_eq!(response.status(), status);
            let decisions = response.extensions().get::<Decisions>().expect("decisions");
            assert_eq!(decisions.is_allowed(), allowed);
            assert_eq!(decisions.reported().rule(), "api");
        }
    }
}

#[tokio::test]
async fn a_response_has_no_decisions_unless_they_are_asked_for() {
    for layer in [
        RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)),
        RateThrottleLayer::new(limiter(Later::default(), 1)),
        RateThrottleLayer::new(limiter(Later::default(), 1)).response_extension(false),
    ] {
        let app: Router = Router::new().route("/", on_get(tell_if_known)).layer(layer);
        for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
            let response = app.clone().oneshot(get()).await.unwrap();
            assert_eq!(response.status(), status);
            assert!(response.extensions().is_empty());
            if status == StatusCode::OK {
                assert_eq!(whole(response).await.body(), "known", "the handler has them");
            }
        }
    }
}

#[tokio::test]
async fn a_dry_run_shows_the_handler_that_it_would_have_refused() {
    async fn verdict(Extension(decisions): Extension<Decisions>) -> String {
        decisions.is_allowed().to_string()
    }
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)).dry_run();
    let app = Router::new().route("/", on_get(verdict)).layer(layer);
    for expected in ["true", "false"] {
        assert_eq!(whole(app.clone().oneshot(get()).await.unwrap()).await.body(), expected);
    }
}

#[tokio::test]
async fn what_is_exempt_has_no_decisions() {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1))
        .response_extension(true)
        .exempt(|_| true);
    let app = Router::new().route("/", on_get(tell_if_known)).layer(layer);
    let response = app.oneshot(get()).await.unwrap();
    assert!(response.extensions().get::<Decisions>().is_none());
    assert_eq!(whole(response).await.body(), "unknown");
}

#[tokio::test]
async fn who_is_allowed_by_the_list_has_decisions_that_say_so() {
    let limiter = limiter(MemoryStorage::new(), 1);
    limiter.allow_list().add("192.0.2.1").unwrap();
    let layer = RateThrottleLayer::new(limiter).response_extension(true);
    let app: Router = Router::new().route("/", on_get(tell_if_known)).layer(layer);
    let response = app.oneshot(get()).await.unwrap();
    let decisions = response.extensions().get::<Decisions>().expect("decisions");
    assert_eq!(decisions.reported().listed(), Some(Listed::Allowed));
    assert_eq!(whole(response).await.body(), "known");
}

#[tokio::test]
async fn of_nested_layers_the_handler_sees_the_inner_and_the_outside_the_outer() {
    let limiter = limiter(MemoryStorage::new(), 10);
    let inner = Rule::per_hour("inner", 5).algorithm(Algorithm::FixedWindow);
    limiter.add_rule(inner).unwrap();
    let app = Router::new()
        .route("/", on_get(tell))
        .layer(RateThrottleLayer::new(&limiter).rule("inner").response_extension(true))
        .layer(RateThrottleLayer::new(&limiter).rule("api").response_extension(true));
    let response = app.oneshot(get()).await.unwrap();
    let decisions = response.extensions().get::<Decisions>().expect("decisions");
    assert_eq!(decisions.reported().rule(), "api");
    let lines = |name| response.headers().get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(lines("ratelimit"), [r#""inner";r=4;t=3600, "api";r=9;t=60"#]);
    assert_eq!(lines("ratelimit-policy"), [r#""inner";q=5;w=3600, "api";q=10;w=60"#]);
    assert_eq!(whole(response).await.body(), "inner 4");
}
