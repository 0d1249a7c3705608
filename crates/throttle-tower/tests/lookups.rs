//! Keys that are waited for: what happens meanwhile, and when they do not come.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Waker},
};

use axum::{Router, body::Body, routing::get as on_get};
use http::Request;
use throttle_core::Limiter;
use throttle_http::{
    OnError, RequestHead,
    identity::{AsyncKey, Keyed},
};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::task::{JoinSet, yield_now};
use tower::ServiceExt;

use common::{Later, Log, get, limiter};

/// Looks up what the field says: `hang` never comes, `down` fails.
fn key() -> AsyncKey {
    AsyncKey::new(|head: &RequestHead<'_>| {
        let who = head.header("x-who").unwrap_or("someone").to_owned();
        async move {
            yield_now().await;
            match &*who {
                "hang" => std::future::pending().await,
                "down" => Err(io::Error::other("the database is down")),
                _ => Ok(who),
            }
        }
    })
}

fn router(limiter: &Limiter, calls: &Arc<AtomicUsize>) -> Router {
    let calls = Arc::clone(calls);
    let handler = move || {
        calls.fetch_add(1, SeqCst);
        async { "hello" }
    };
    let layer = RateThrottleLayer::new(limiter).key(key());
    Router::new().route("/", on_get(handler)).layer(layer.build().unwrap())
}

fn by(who: &'static str) -> Request<Body> {
    let mut request = get();
    request.headers_mut().insert("x-who", who.parse().unwrap());
    request
}

async fn status(app: &Router, who: &'static str) -> u16 {
    app.clone().oneshot(by(who)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_request_that_is_dropped_while_its_key_is_looked_up_charges_and_calls_nobody() {
    let (limiter, calls) = (limiter(MemoryStorage::new(), 1), Arc::default());
    let app = router(&limiter, &calls);
    let mut cx = Context::from_waker(Waker::noop());
    for who in ["hang", "someone"] {
        for polls in 0..2 {
            let mut call = pin!(app.clone().oneshot(by(who)));
            for _ in 0..polls {
                assert!(call.as_mut().poll(&mut cx).is_pending());
            }
        }
    }
    assert_eq!(calls.load(SeqCst), 0);
    assert_eq!((status(&app, "someone").await, status(&app, "someone").await), (200, 429));
}

#[tokio::test]
async fn who_has_no_rules_picked_is_not_limited_by_those_of_others() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let plan = |plan: &str| match plan {
        "free" => Some("api"),
        _ => None,
    };
    let key = AsyncKey::new(move |head: &RequestHead<'_>| {
        let who = head.header("x-who").unwrap_or_default().to_owned();
        async move { Ok::<_, io::Error>(Keyed::new(who.clone(), plan(&who))) }
    });
    let router = |layer: RateThrottleLayer| {
        let layer = layer.key(key.clone()).build().unwrap();
        Router::new().route("/", on_get(|| async { "hello" })).layer(layer)
    };
    let app = router(RateThrottleLayer::new(&limiter));
    assert_eq!((status(&app, "free").await, status(&app, "free").await), (200, 429));
    for _ in 0..3 {
        assert_eq!(status(&app, "pro").await, 200);
    }
    let named = router(RateThrottleLayer::new(&limiter).limit("all", "1/hour"));
    assert_eq!((status(&named, "pro").await, status(&named, "pro").await), (200, 429));
}

#[tokio::test]
async fn many_at_once_are_counted_exactly_over_a_storage_that_answers_later_too() {
    for limiter in [limiter(MemoryStorage::new(), 10), limiter(Later::default(), 10)] {
        let calls = Arc::default();
        let app = router(&limiter, &calls);
        let mut all = JoinSet::new();
        for i in 0..60 {
            let (app, who) = (app.clone(), if i % 2 == 0 { "alice" } else { "bob" });
            all.spawn(async move { status(&app, who).await });
        }
        let statuses = all.join_all().await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 20);
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 40);
        assert_eq!(calls.load(SeqCst), 20);
    }
}

#[tokio::test]
async fn a_failure_is_a_matter_of_choice_and_logged_once() {
    let (log, _guard) = Log::start();
    let limiter = limiter(MemoryStorage::new(), 9);
    let layer = RateThrottleLayer::new(&limiter).key(key()).on_error(OnError::Pass);
    let app = Router::new().route("/", on_get(|| async { "hello" })).layer(layer.build().unwrap());
    for _ in 0..3 {
        let response = app.clone().oneshot(by("down")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-ratelimit-degraded"], "unlimited");
    }
    let lines = log.take();
    assert_eq!(lines.matches("ERROR").count(), 1, "{lines}");
    assert!(lines.contains("the database is down"), "{lines}");
    assert_eq!(status(&app, "someone").await, 200);
    assert!(log.take().contains("requests=3"));
}
