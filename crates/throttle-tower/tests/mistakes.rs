//! What looks like a mistake is a line of the log that names what to do, and one only.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::net::SocketAddr;

use axum::{Router, body::Body, extract::ConnectInfo, routing::get as on_get};
use http::Request;
use throttle_core::{Key, Rule};
use throttle_http::{
    RequestHead,
    identity::{ClientIp, ExtractKey, Header, Missing},
};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::{Log, get, limiter};

fn router(layer: RateThrottleLayer) -> Router {
    Router::new().route("/", on_get(|| async { "hello" })).layer(layer)
}

fn by(key: impl ExtractKey) -> Router {
    router(RateThrottleLayer::new(limiter(MemoryStorage::new(), 9)).key(key).build().unwrap())
}

fn from(peer: &str) -> Request<Body> {
    let mut request = get();
    let peer = SocketAddr::new(peer.parse().unwrap(), 50_000);
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

fn forwarded(field: &'static str) -> Request<Body> {
    let mut request = from("10.0.0.1");
    request.headers_mut().insert(field, "203.0.113.1".parse().unwrap());
    request
}

async fn ask(app: &Router, request: Request<Body>) {
    assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 200);
}

#[track_caller]
fn assert_one(log: &Log, words: &[&str]) {
    let lines = log.take();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    for word in words {
        assert!(lines.contains(word), "{word} is not in: {lines}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_named_once() {
    let anonymous = || Header::new("x-api-key").missing(Missing::ClientIp(ClientIp::new()));
    let in_a_tuple = || (Header::new("x-api-key").missing(Missing::Anonymous), ClientIp::new());
    let apps: [fn() -> Router; 2] =
        [|| by(ClientIp::new()), || router(RateThrottleLayer::new(Rule::per_day("api", 9)))];
    let apps = apps.map(|app| app()).into_iter();
    for app in apps.chain([by(anonymous()), by(in_a_tuple())]) {
        for field in ["x-forwarded-for", "forwarded"] {
            let (log, _guard) = Log::start();
            let app = app.clone();
            ask(&app, get()).await;
            assert_eq!(log.take(), "");
            ask(&app, forwarded(field)).await;
            if field == "x-forwarded-for" {
                assert_one(&log, &["WARN", "10.0.0.1", field, "trusted_proxies"]);
            }
            ask(&app, forwarded(field)).await;
            assert_eq!(log.take(), "", "once is enough");
        }
    }
}

#[tokio::test]
async fn where_a_proxy_is_trusted_or_no_address_is_asked_for_nothing_is_said() {
    let (log, _guard) = Log::start();
    for app in [
        by(ClientIp::new().trusted_proxies(["10.0.0.0/8"])),
        by(ClientIp::new().trusted_proxies(["192.0.2.7"])),
        by(|_: &RequestHead<'_>| "all"),
    ] {
        ask(&app, forwarded("x-forwarded-for")).await;
    }
    assert_eq!(log.take(), "");
}

#[tokio::test]
async fn trust_in_everybody_is_said_when_the_layer_is_built() {
    for network in ["0.0.0.0/0", "::/0"] {
        let (log, _guard) = Log::start();
        let key = ClientIp::new().trusted_proxies(["10.0.0.0/8", network]);
        let app = by((Header::new("x-api-key").missing(Missing::Anonymous), key));
        assert_one(&log, &["WARN", "0.0.0.0/0", "trusted_proxies"]);
        ask(&app, forwarded("x-forwarded-for")).await;
        assert_eq!(log.take(), "");
    }
}

#[tokio::test]
async fn a_key_that_is_a_whole_ipv6_address_is_shown_once() {
    let text = |head: &RequestHead<'_>| head.peer().map(|peer| peer.to_string());
    let key = |head: &RequestHead<'_>| head.peer().map(Key::from);
    for app in [by(text), by(key)] {
        let (log, _guard) = Log::start();
        ask(&app, from("192.0.2.1")).await;
        ask(&app, from("::ffff:192.0.2.1")).await;
        assert_eq!(log.take(), "");
        ask(&app, from("2001:db8::7")).await;
        assert_one(&log, &["WARN", "2001:db8::7", "Key::network(address, 64)"]);
        ask(&app, from("2001:db8::8")).await;
        assert_eq!(log.take(), "");
    }
    let (log, _guard) = Log::start();
    ask(&by(ClientIp::new()), from("2001:db8::7")).await;
    ask(&by(|head: &RequestHead<'_>| head.peer()), from("2001:db8::7")).await;
    assert_eq!(log.take(), "");
}

#[tokio::test]
async fn after_the_first_thousand_requests_nothing_is_looked_at() {
    let (log, _guard) = Log::start();
    let limiter = limiter(MemoryStorage::new(), 9_999);
    let app = router(RateThrottleLayer::new(limiter).build().unwrap());
    for _ in 0..1000 {
        ask(&app, get()).await;
    }
    ask(&app, forwarded("x-forwarded-for")).await;
    assert_eq!(log.take(), "");
}

#[tokio::test]
async fn requests_that_are_charged_twice_by_one_rule_are_noticed() {
    let (log, _guard) = Log::start();
    let limiter = limiter(MemoryStorage::new(), 99);
    limiter.add_rule(Rule::per_day("daily", 99)).unwrap();
    let layer = |rule: &str| RateThrottleLayer::new(&limiter).rule(rule);
    let apart = router(layer("api")).layer(layer("daily"));
    let by_key = layer("api").key(|_: &RequestHead<'_>| "everybody");
    let by_two_keys = router(layer("api")).layer(by_key);
    for _ in 0..16 {
        ask(&by_two_keys, get()).await;
        ask(&apart, get()).await;
    }
    assert_eq!(log.take(), "", "other rules, or other keys, are no mistake");

    let twice = router(layer("api").cost(2)).layer(layer("api"));
    for _ in 0..16 {
        ask(&twice, get()).await;
    }
    assert_one(&log, &["WARN", "\"api\"", "twice"]);
}
