//! The configuration of the layer.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use axum::{Router, extract::connect_info::MockConnectInfo, routing::get as on_get};
use throttle_http::Headers;
use throttle_memory::MemoryStorage;
use throttle_tower::{OutboundLimiter, RateThrottleLayer};
use tower::{Layer, ServiceExt};

use common::{Log, get, limiter};

fn of(limit: u64) -> RateThrottleLayer {
    RateThrottleLayer::new(limiter(MemoryStorage::new(), limit))
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
fn a_layer_can_be_changed_and_built_again_after_it_was_built() {
    let layer = of(1).limit("login", "5/minute").build().unwrap();
    let layer = layer.build().unwrap().rule("api").build().unwrap();
    assert!(layer.rule("other").build().unwrap_err().to_string().contains("\"other\""));
}

#[test]
fn a_configuration_error_is_logged_when_the_layer_wraps_a_router() {
    let (log, _guard) = Log::start();
    let _app = router(of(1).rule("unknown"));
    let logged = log.take();
    assert!(logged.contains("ERROR") && logged.contains("\"unknown\""), "{logged}");
}

#[tokio::test]
async fn a_disabled_layer_passes_requests_although_its_configuration_is_invalid() {
    let (log, _guard) = Log::start();
    let app = router(of(1).rule("unknown").enabled(false));
    for _ in 0..2 {
        assert_eq!(app.clone().oneshot(get()).await.unwrap().status(), 200);
    }
    assert_eq!(log.take(), "");
}

#[tokio::test]
async fn a_request_that_two_limiters_of_one_storage_count_is_warned_about() {
    let (log, _guard) = Log::start();
    let nested = |storages: [MemoryStorage; 2]| {
        let [inner, outer] = storages.map(|storage| RateThrottleLayer::new(limiter(storage, 99)));
        router(inner).layer(outer)
    };
    let separate = nested([MemoryStorage::new(), MemoryStorage::new()]);
    for _ in 0..16 {
        assert_eq!(separate.clone().oneshot(get()).await.unwrap().status(), 200);
    }
    assert_eq!(log.take(), "", "each of two storages has its own counts");

    let storage = MemoryStorage::new();
    let twice = nested([storage.clone(), storage]);
    for _ in 0..16 {
        assert_eq!(twice.clone().oneshot(get()).await.unwrap().status(), 200);
    }
    let logged = log.take();
    assert_eq!(logged.lines().count(), 1, "{logged}");
    assert!(
        logged.contains("WARN") && logged.contains("\"api\" charges requests twice"),
        "{logged}"
    );
}

#[test]
fn the_inner_service_can_be_read_changed_and_returned() {
    let mut limited = of(1).layer("inner");
    assert_eq!(*limited.get_ref(), "inner");
    *limited.get_mut() = "changed";
    assert_eq!(limited.into_inner(), "changed");

    let mut client = OutboundLimiter::new(limiter(MemoryStorage::new(), 1)).layer("inner");
    assert_eq!(*client.get_ref(), "inner");
    *client.get_mut() = "changed";
    assert_eq!(client.into_inner(), "changed");
}

#[tokio::test]
async fn the_peer_of_a_mocked_connection_is_known() {
    let app = router(of(1)).layer(MockConnectInfo(common::PEER));
    let request = http::Request::new(axum::body::Body::empty());
    assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 200);
    assert_eq!(app.oneshot(get()).await.unwrap().status(), 429);
}
