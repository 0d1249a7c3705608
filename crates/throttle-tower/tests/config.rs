//! What cannot be used is an error of `build`, and never a panic under load.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, routing::get as on_get};
use http::StatusCode;
use throttle_core::Rule;
use throttle_http::Headers;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{Log, field, get, limiter, whole};

fn of(limit: u64) -> RateThrottleLayer {
    RateThrottleLayer::new(limiter(MemoryStorage::new(), limit))
}

fn error(layer: RateThrottleLayer) -> String {
    layer.build().unwrap_err().to_string()
}

fn router(layer: RateThrottleLayer) -> Router {
    Router::new().route("/", on_get(|| async { "hello" })).layer(layer)
}

#[test]
fn a_secret_is_not_shown() {
    let headers = Headers::default().partition_key("correct horse battery staple");
    let long = of(1).headers(headers).build().unwrap();
    let shown = format!("{long:?} {long:#?}");
    let bytes = format!("{:?}", b"correct");
    assert!(!shown.contains("horse") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn a_rule_that_cannot_be_taken_is_an_error_that_names_the_field() {
    let text = error(RateThrottleLayer::new(Rule::per_minute("api", 0)));
    assert!(text.contains("\"api\"") && text.contains("limit is 0"), "{text}");
    let text = error(RateThrottleLayer::new(Rule::per_minute("api", 1).burst(3)));
    assert!(text.contains("burst is 3"), "{text}");
}

#[test]
fn a_layer_that_was_built_can_be_built_again_and_changed() {
    let layer = of(1).limit("login", "5/minute").build().unwrap();
    let layer = layer.build().unwrap().rule("api").build().unwrap();
    assert!(error(layer.rule("other")).contains("\"other\""));
}

#[test]
fn a_layer_that_cannot_be_built_leaves_no_rule_behind() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let layer = || RateThrottleLayer::new(&limiter).limit("login", "5/minute");
    error(layer().rule("unknown"));
    error(layer().limit("search", "five"));
    error(layer().limit("api", "7/minute"));
    error(layer().headers(Headers::default().partition_key("short")));
    let names: Vec<_> = limiter.rules().iter().map(|rule| rule.name().to_owned()).collect();
    assert_eq!(names, ["api"]);

    drop(layer().build().unwrap());
    error(layer().rule("unknown"));
    assert!(limiter.rule("login").is_some(), "it is the one of the layer that was built");
}

#[test]
fn one_limit_of_requests_under_way_does_not_take_two_places() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let uploads = || limiter.concurrency("uploads", 1).unwrap();
    let text =
        error(RateThrottleLayer::new(&limiter).concurrency(uploads()).concurrency(uploads()));
    assert!(text.contains("\"uploads\" stands twice"), "{text}");
}

#[tokio::test]
async fn without_build_the_mistake_is_logged_and_every_request_answered_with_500() {
    let (log, _guard) = Log::start();
    let app = router(of(1).rule("unknown"));
    let logged = log.take();
    for word in ["ERROR", "\"unknown\"", "\"api\"", "500"] {
        assert!(logged.contains(word), "{word} is not in: {logged}");
    }
    for _ in 0..3 {
        let response = whole(app.clone().oneshot(get()).await.unwrap()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(field(&response, "content-type"), "application/problem+json");
        let body = r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"The server is not configured to limit requests."}"#;
        assert_eq!(response.body(), body, "what is wrong within is told to nobody");
    }
    assert_eq!(log.take(), "", "once is enough");
}

#[tokio::test]
async fn without_connect_info_the_answer_is_500_and_the_log_names_the_fix_once() {
    let (log, _guard) = Log::start();
    let app = router(of(1).build().unwrap());
    assert_eq!(log.take(), "");
    for _ in 0..3 {
        let mut request = get();
        request.extensions_mut().clear();
        let response = whole(app.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(!body.contains("into_make_service"), "clients need not know: {body}");
    }
    let logged = log.take();
    let fix = "into_make_service_with_connect_info::<SocketAddr>()";
    assert_eq!(logged.matches(fix).count(), 1, "{logged}");
    assert_eq!(logged.matches("ERROR").count(), 1, "{logged}");
    assert_eq!(app.oneshot(get()).await.unwrap().status(), StatusCode::OK, "nothing was charged");
}

#[tokio::test]
async fn the_peer_of_a_mocked_connection_is_known() {
    use axum::extract::connect_info::MockConnectInfo;
    let app = router(of(1)).layer(MockConnectInfo(common::PEER));
    let request = http::Request::new(axum::body::Body::empty());
    assert_eq!(app.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
    assert_eq!(app.oneshot(get()).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_picked_rule_that_is_not_there_is_logged_once_with_the_rules_that_are() {
    let (log, _guard) = Log::start();
    let app = router(of(1).rules_by(|_, _| "gold").build().unwrap());
    for _ in 0..3 {
        assert_eq!(app.clone().oneshot(get()).await.unwrap().status(), 500);
    }
    let logged = log.take();
    assert_eq!(logged.matches("ERROR").count(), 1, "{logged}");
    for word in ["\"gold\"", "\"api\"", "declare_rules"] {
        assert!(logged.contains(word), "{word} is not in: {logged}");
    }
}
