//! What follows a request past its decision, over a real Redis: it answers later, and is not waited for where
//! a client has left.

#[expect(unreachable_pub, dead_code, reason = "the tests of the adapter use more of it")]
#[path = "../crates/throttle-tower/tests/common/log.rs"]
mod log;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Path, connect_info::MockConnectInfo},
    http::{Request, StatusCode},
    response::Response,
    routing::get,
};
use ratethrottle::{
    ActualCost, Algorithm, Concurrency, Limiter, RateThrottleLayer, RedisStorage, Rule,
};
use throttle_testbed::Server;
use tokio::{sync::Notify, task::JoinHandle, time::sleep};
use tower::ServiceExt;

const CLIENT: &str = "203.0.113.7";

/// Has a handler that answers with the status and says the cost that the path names; 0 waits for ever.
fn app(layer: RateThrottleLayer) -> Router {
    let handler = async |Path((status, cost)): Path<(u16, u64)>,
                         actual: Option<Extension<ActualCost>>,
                         reached: Option<Extension<Arc<Notify>>>| {
        if let Some(Extension(actual)) = actual {
            actual.set(cost);
        }
        if status == 0 {
            if let Some(Extension(reached)) = reached {
                reached.notify_one();
            }
            std::future::pending::<()>().await;
        }
        (StatusCode::from_u16(status).expect("a path names a status"), "hello")
    };
    Router::new()
        .route("/{status}/{cost}", get(handler))
        .layer(layer.build().expect("the options are right"))
        .layer(MockConnectInfo(SocketAddr::from(([203, 0, 113, 7], 50_000))))
}

async fn ask(app: &Router, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).expect("it is a path");
    let Ok(response) = app.clone().oneshot(request).await;
    response
}

async fn status(app: &Router, path: &str) -> u16 {
    let response = ask(app, path).await;
    let status = response.status().as_u16();
    to_bytes(response.into_body(), 1024).await.expect("the body is there");
    status
}

fn start(app: &Router, path: &'static str) -> JoinHandle<u16> {
    let app = app.clone();
    tokio::spawn(async move { status(&app, path).await })
}

async fn limiter(server: &Server, rule: Rule) -> Limiter {
    let storage = RedisStorage::connect(&server.url()).await.expect("the server runs");
    let limiter = Limiter::new(storage);
    limiter.add_rule(rule).expect("the rule is right");
    limiter
}

async fn left(limiter: &Limiter) -> u64 {
    limiter.peek(CLIENT, "api").await.expect("Redis answers").remaining()
}

/// Waits until so much is left: what nobody waits for is done soon.
async fn until_left(limiter: &Limiter, expected: u64) {
    for _ in 0..500 {
        if left(limiter).await == expected {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("there is {} left, and never {expected}", left(limiter).await);
}

async fn until_in_use(uploads: &Concurrency, expected: u64) {
    for _ in 0..500 {
        if uploads.in_use(CLIENT).await.expect("Redis answers") == expected {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("there are never {expected} in use");
}

fn a_day(limit: u64) -> Rule {
    Rule::per_day("api", limit).algorithm(Algorithm::FixedWindow)
}

#[tokio::test(flavor = "multi_thread")]
async fn charge_if_gives_back_before_the_response_is_sent() {
    let server = Server::start();
    let limiter = limiter(&server, a_day(10)).await;
    let app = app(RateThrottleLayer::new(&limiter).charge_if(|response| response.status() == 401));
    for _ in 0..3 {
        let response = ask(&app, "/200/1").await;
        assert!(response.headers()["ratelimit"].to_str().unwrap().starts_with(r#""api";r=10;"#));
        assert_eq!(left(&limiter).await, 10);
    }
    assert_eq!(status(&app, "/401/1").await, 401);
    assert_eq!(left(&limiter).await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shaped_request_waits_and_one_that_leaves_gives_its_turn_back() {
    let server = Server::start();
    // A turn every twenty seconds: nobody's comes while the test runs, but for the first.
    let rule = Rule::new("api", 3, Duration::from_secs(60)).algorithm(Algorithm::LeakyBucket);
    let limiter = limiter(&server, rule.burst(20)).await;
    let app = app(RateThrottleLayer::new(&limiter).shape());
    assert_eq!(status(&app, "/200/1").await, 200);
    let waiting: Vec<_> = (0..5).map(|_| start(&app, "/200/1")).collect();
    until_left(&limiter, 14).await;
    assert!(waiting.iter().all(|one| !one.is_finished()), "their turns are far away");
    waiting.iter().for_each(JoinHandle::abort);
    until_left(&limiter, 19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_redis_is_asked_for_a_turn_gives_it_back() {
    let server = Server::start();
    let rule = Rule::new("api", 3, Duration::from_secs(60)).algorithm(Algorithm::LeakyBucket);
    let limiter = limiter(&server, rule.burst(100)).await;
    let app = app(RateThrottleLayer::new(&limiter).shape());
    assert_eq!(status(&app, "/200/1").await, 200);
    for turn in 0..60_u64 {
        let asking = start(&app, "/200/1");
        // At every point of the call, which takes some 100 microseconds.
        let stop = std::time::Instant::now() + Duration::from_micros(turn * 10);
        while std::time::Instant::now() < stop {
            tokio::task::yield_now().await;
        }
        asking.abort();
    }
    // Those that are still on their way may take a turn yet.
    sleep(Duration::from_millis(100)).await;
    until_left(&limiter, 99).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_settled_to_what_it_cost_also_where_the_client_has_left() {
    let server = Server::start();
    let limiter = limiter(&server, a_day(1_000)).await;
    let reached = Arc::new(Notify::new());
    let app = app(RateThrottleLayer::new(&limiter).cost(100).charge_actual())
        .layer(Extension(Arc::clone(&reached)));
    assert_eq!(status(&app, "/200/7").await, 200);
    until_left(&limiter, 993).await;
    assert_eq!(status(&app, "/200/293").await, 200);
    until_left(&limiter, 700).await;
    let asking = start(&app, "/0/20");
    reached.notified().await;
    asking.abort();
    until_left(&limiter, 680).await;
    assert_eq!(status(&app, "/200/5000").await, 200);
    until_left(&limiter, 0).await;
    assert_eq!(limiter.metrics().denied, 0, "what finds no room is forgiven");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_handler_is_called_has_the_estimate_given_back() {
    let server = Server::start();
    let limiter = limiter(&server, a_day(1_000)).await;
    let app = app(RateThrottleLayer::new(&limiter).cost(10).charge_actual());
    assert_eq!(status(&app, "/200/0").await, 200);
    for turn in 0..60_u64 {
        let asking = start(&app, "/0/0"); // costs nothing where the handler is called
        let stop = std::time::Instant::now() + Duration::from_micros(turn * 10);
        while std::time::Instant::now() < stop {
            tokio::task::yield_now().await;
        }
        asking.abort();
    }
    sleep(Duration::from_millis(100)).await;
    until_left(&limiter, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_the_places_of_a_client() {
    let server = Server::start();
    let mut apps = Vec::new();
    let mut uploads = Vec::new();
    for _ in 0..2 {
        let limiter = limiter(&server, a_day(1_000)).await;
        let two = limiter.concurrency("uploads", 2).expect("the limit is right");
        apps.push(app(RateThrottleLayer::new(&limiter).rule("api").concurrency(two.clone())));
        uploads.push(two);
    }
    let waiting = [start(&apps[0], "/0/1"), start(&apps[1], "/0/1")];
    until_in_use(&uploads[0], 2).await;
    let refused = ask(&apps[0], "/200/1").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["ratelimit"], r#""uploads";r=0"#);
    waiting[0].abort();
    until_in_use(&uploads[1], 1).await;
    assert_eq!(status(&apps[1], "/200/1").await, 200);
    waiting[1].abort();
    until_in_use(&uploads[0], 0).await;
}

#[tokio::test]
async fn limiters_that_come_and_go_over_one_redis_keep_the_limit_and_are_no_mistake() {
    let server = Server::start();
    let storage = RedisStorage::connect(&server.url()).await.expect("the server runs");
    let (log, _guard) = log::Log::start();
    let mut passed = 0;
    for _ in 0..40 {
        let limiter = Limiter::new(storage.clone());
        limiter.add_rule(Rule::per_day("api", 7)).expect("the rule is right");
        let app = app(RateThrottleLayer::new(&limiter));
        passed += u32::from(status(&app, "/200/1").await == 200);
    }
    assert_eq!((passed, &log.take()[..]), (7, ""));
}
