//! What cannot be used is an error of `build`, and never a panic under load.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, routing::get as on_get};
use http::StatusCode;
use throttle_core::{Limiter, Rule};
use throttle_http::{
    ContentLength, Headers, RequestHead,
    identity::{AsyncKey, ClientIp, Header, Missing},
};
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
fn a_rule_that_is_not_known_is_an_error_that_says_which_are() {
    let limiter = limiter(MemoryStorage::new(), 1);
    limiter.add_rule(Rule::per_day("daily", 1)).unwrap();
    let text = error(RateThrottleLayer::new(&limiter).rule("api").rule("dayly"));
    for word in ["\"dayly\"", "\"api\"", "\"daily\"", "add_rule"] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
    let empty = Limiter::new(MemoryStorage::new());
    assert!(error(RateThrottleLayer::new(empty).rule("api")).contains("has no rules"));
}

#[test]
fn a_rule_that_is_declared_and_not_there_is_an_error() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let plans = || RateThrottleLayer::new(&limiter).rules_by(|_, _| "api");
    assert!(plans().declare_rules(["api"]).build().is_ok());
    let text = error(plans().declare_rules(["api"]).declare_rules(["gold".to_owned()]));
    for word in ["\"gold\"", "\"api\"", "add_rule"] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

#[test]
fn a_path_or_a_cost_that_cannot_be_used_is_an_error_that_shows_it() {
    let text = error(of(1).exempt_paths(["/ok", "static/*"]).exempt_paths(["/also*"]));
    assert!(text.contains("\"static/*\"") && text.contains("begin with"), "{text}");
    let text = error(of(1).cost(ContentLength::in_units_of(0)));
    assert!(text.contains("0 bytes") && text.contains("1024"), "{text}");
    let text = error(of(1).cost(ContentLength::in_kib().at_most(0)));
    assert!(text.contains("at most 0"), "{text}");
}

#[test]
fn a_secret_that_is_too_short_is_an_error_and_none_is_shown() {
    let with = |secret: &str| of(1).headers(Headers::default().partition_key(secret));
    let text = error(with("hunter2"));
    assert!(text.contains("7 bytes") && text.contains("openssl"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let long = with("correct horse battery staple").build().unwrap();
    let shown = format!("{long:?} {long:#?}");
    let bytes = format!("{:?}", b"correct");
    assert!(!shown.contains("horse") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn a_key_that_is_waited_for_is_checked_as_others_are() {
    let key = || AsyncKey::new(|_: &RequestHead<'_>| async { Ok::<_, std::fmt::Error>("key") });
    let text = error(of(1).key(key()).rules_by(|_, _| "api"));
    assert!(text.contains("Keyed::new"), "{text}");
    let proxy = ClientIp::new().trusted_proxies(["proxy.internal"]);
    let text = error(of(1).key((key().missing(Missing::ClientIp(proxy)), ClientIp::new())));
    assert!(text.contains("\"proxy.internal\""), "{text}");
}

#[test]
fn a_rate_that_cannot_be_read_is_an_error_that_shows_it() {
    for rate in ["5 a minute", "", "5/fortnight"] {
        let text = error(of(1).limit("login", rate));
        for word in ["\"login\"", &format!("{rate:?}"), "100/minute"] {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }
    let text = error(of(1).limit("login", "0/minute"));
    assert!(text.contains("\"login\"") && text.contains("limit is 0"), "{text}");
    let text = error(of(1).limit("log\nin", "5/minute"));
    assert!(text.contains("name is"), "{text}");
}

#[test]
fn a_limiter_without_rules_is_an_error_that_names_the_fix() {
    let text = error(RateThrottleLayer::new(Limiter::new(MemoryStorage::new())));
    assert!(text.contains("no rules") && text.contains("add_rule"), "{text}");
}

#[test]
fn a_proxy_that_is_no_network_is_an_error_that_shows_it() {
    let key = ClientIp::new().trusted_proxies(["10.0.0.0/8", "proxy.internal"]);
    let text = error(of(1).key(key.clone()));
    assert!(text.contains("\"proxy.internal\"") && text.contains("10.0.0.0/8"), "{text}");
    let text = error(of(1).key((Header::new("x-tenant"), key)));
    assert!(text.contains("\"proxy.internal\""), "within a tuple, too: {text}");
}

#[test]
fn a_rule_that_cannot_be_taken_is_an_error_that_names_the_field() {
    let text = error(RateThrottleLayer::new(Rule::per_minute("api", 0)));
    assert!(text.contains("\"api\"") && text.contains("limit is 0"), "{text}");
    let text = error(RateThrottleLayer::new(Rule::per_minute("api", 1).burst(3)));
    assert!(text.contains("burst is 3"), "{text}");
}

#[test]
fn a_rule_twice_in_one_request_is_an_error() {
    assert!(error(of(1).rule("api").rule("api")).contains("stands twice"));
    assert!(error(of(1).limit("web", "5/s").rule("web")).contains("stands twice"));
}

#[test]
fn a_name_for_two_rates_is_an_error_that_names_the_way_out() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let login = |rate| RateThrottleLayer::new(&limiter).limit("login", rate);
    assert!(login("5/minute").build().is_ok());
    assert!(login("5 per 60 seconds").build().is_ok(), "the same rule again");
    let text = error(login("6/minute"));
    assert!(text.contains("\"login\"") && text.contains("replace_rule"), "{text}");
}

#[test]
fn a_layer_that_was_built_can_be_built_again_and_changed() {
    let layer = of(1).limit("login", "5/minute").build().unwrap();
    let layer = layer.build().unwrap().rule("api").build().unwrap();
    assert!(error(layer.rule("other")).contains("\"other\""));
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
