//! Refunds, reconciliation, queues and permits over a real Redis, also of clients that disconnect.

mod app;

use std::time::Duration;

use ratethrottle::{
    Algorithm, Limiter, RedisStorage, Rule, concurrency::ConcurrencyLimit, options::Options,
    testing::Log,
};
use throttle_testbed::Server;
use tokio::{task::JoinHandle, time::sleep};

use app::App;

const CLIENT: &str = "203.0.113.7";

async fn status(app: &App, path: &'static str) -> u16 {
    app.ask(path).await.status().as_u16()
}

fn start(app: &App, path: &'static str) -> JoinHandle<u16> {
    let app = app.clone();
    tokio::spawn(async move { status(&app, path).await })
}

async fn limiter(server: &Server, rule: Rule) -> Limiter {
    let storage = RedisStorage::connect(&server.url()).await.expect("the server runs");
    let limiter = Limiter::new(storage);
    limiter.add_rule(rule).expect("the rule is valid");
    limiter
}

async fn remaining(limiter: &Limiter) -> u64 {
    limiter.peek(CLIENT, "api").await.expect("Redis answers").remaining()
}

/// Waits until `expected` remains, because background tasks may still run.
async fn until_remaining(limiter: &Limiter, expected: u64) {
    for _ in 0..500 {
        if remaining(limiter).await == expected {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{} remain, expected {expected}", remaining(limiter).await);
}

async fn until_in_use(uploads: &ConcurrencyLimit, expected: u64) {
    for _ in 0..500 {
        if uploads.in_use(CLIENT).await.expect("Redis answers") == expected {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("expected {expected} permits in use");
}

/// Sends requests and disconnects, at every point of the call to Redis, which takes about 100 microseconds.
async fn disconnect_at_every_point(app: &App, path: &'static str) {
    for i in 0..60_u64 {
        let request = start(app, path);
        let stop = std::time::Instant::now() + Duration::from_micros(i * 10);
        while std::time::Instant::now() < stop {
            tokio::task::yield_now().await;
        }
        request.abort();
    }
    // Commands that were already sent may still charge something.
    sleep(Duration::from_millis(100)).await;
}

fn per_day(limit: u64) -> Rule {
    Rule::per_day("api", limit).algorithm(Algorithm::FixedWindow)
}

#[tokio::test(flavor = "multi_thread")]
async fn charge_if_refunds_before_the_response_is_sent() {
    for make in App::KINDS {
        let server = Server::start();
        let limiter = limiter(&server, per_day(10)).await;
        let app = make(&limiter, Options::new().charge_if(|response| response.status() == 401));
        for _ in 0..3 {
            let response = app.ask("/200/1").await;
            assert!(
                response.headers()["ratelimit"].to_str().unwrap().starts_with(r#""api";r=10;"#)
            );
            assert_eq!(remaining(&limiter).await, 10);
        }
        assert_eq!(status(&app, "/401/1").await, 401);
        assert_eq!(remaining(&limiter).await, 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shaped_request_waits_and_one_that_disconnects_frees_its_slot() {
    for make in App::KINDS {
        let server = Server::start();
        // One request every twenty seconds, so that only the first is sent during the test.
        let rule = Rule::new("api", 3, Duration::from_secs(60)).algorithm(Algorithm::LeakyBucket);
        let limiter = limiter(&server, rule.burst(20)).await;
        let app = make(&limiter, Options::new().shape());
        assert_eq!(status(&app, "/200/1").await, 200);
        let waiting: Vec<_> = (0..5).map(|_| start(&app, "/200/1")).collect();
        until_remaining(&limiter, 14).await;
        assert!(
            waiting.iter().all(|one| !one.is_finished()),
            "their scheduled times are far in the future"
        );
        waiting.iter().for_each(JoinHandle::abort);
        until_remaining(&limiter, 19).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_during_a_redis_call_frees_its_slot() {
    for make in App::KINDS {
        let server = Server::start();
        let rule = Rule::new("api", 3, Duration::from_secs(60)).algorithm(Algorithm::LeakyBucket);
        let limiter = limiter(&server, rule.burst(100)).await;
        let app = make(&limiter, Options::new().shape());
        assert_eq!(status(&app, "/200/1").await, 200);
        disconnect_at_every_point(&app, "/200/1").await;
        until_remaining(&limiter, 99).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_reconciled_even_after_the_client_has_disconnected() {
    for make in App::KINDS {
        let server = Server::start();
        let limiter = limiter(&server, per_day(1_000)).await;
        let app = make(&limiter, Options::new().cost(100).charge_actual());
        assert_eq!(status(&app, "/200/7").await, 200);
        until_remaining(&limiter, 993).await;
        assert_eq!(status(&app, "/200/293").await, 200);
        until_remaining(&limiter, 700).await;
        let request = start(&app, "/0/20");
        app.reached.notified().await;
        request.abort();
        until_remaining(&limiter, 680).await;
        assert_eq!(status(&app, "/200/5000").await, 200);
        until_remaining(&limiter, 0).await;
        assert_eq!(limiter.metrics().denied, 0, "a cost over the limit must be capped, not denied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_before_the_handler_is_refunded_the_estimate() {
    for make in App::KINDS {
        let server = Server::start();
        let limiter = limiter(&server, per_day(1_000)).await;
        let app = make(&limiter, Options::new().cost(10).charge_actual());
        assert_eq!(status(&app, "/200/0").await, 200);
        disconnect_at_every_point(&app, "/0/0").await; // the cost is 0 if the handler is called
        until_remaining(&limiter, 1_000).await;
    }
}

/// Creates an app of each kind, each with its own limiter and connections.
async fn one_of_each(
    server: &Server,
    rule: &Rule,
    options: impl Fn() -> Options,
) -> [(App, Limiter); 2] {
    let mut apps = Vec::new();
    for make in App::KINDS {
        let limiter = limiter(server, rule.clone()).await;
        apps.push((make(&limiter, options()), limiter));
    }
    let Ok(apps) = apps.try_into() else { panic!("there must be two kinds") };
    apps
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_share_refunds_and_reconciliation() {
    let server = Server::start();
    let options = || Options::new().charge_if(|response| response.status() == 401);
    let [one, other] = one_of_each(&server, &per_day(10), options).await;
    for ((app, _), path, expected) in
        [(&one, "/200/1", 10), (&other, "/200/1", 10), (&one, "/401/1", 9), (&other, "/401/1", 8)]
    {
        status(app, path).await;
        assert_eq!(
            (remaining(&one.1).await, remaining(&other.1).await),
            (expected, expected),
            "{path}"
        );
    }

    let server = Server::start();
    let options = || Options::new().cost(100).charge_actual();
    let [one, other] = one_of_each(&server, &per_day(1_000), options).await;
    for ((app, _), (_, elsewhere), path, expected) in [
        (&one, &other, "/200/7", 993),
        (&other, &one, "/200/293", 700),
        (&one, &other, "/200/5000", 0),
    ] {
        assert_eq!(status(app, path).await, 200);
        until_remaining(elsewhere, expected).await;
    }
    assert_eq!(status(&other.0, "/200/1").await, 429, "the other server used up the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_of_two_servers_receive_one_request_at_each_scheduled_time() {
    const INTERVAL: Duration = Duration::from_millis(200);
    let server = Server::start();
    let rule = Rule::per_second("api", 5).algorithm(Algorithm::LeakyBucket).burst(10);
    let [one, other] = one_of_each(&server, &rule, || Options::new().shape()).await;
    let start_time = std::time::Instant::now();
    let waiting = [&one, &other, &one, &other].map(|(app, _)| start(app, "/200/1"));
    for request in waiting {
        assert_eq!(request.await.expect("no request is aborted"), 200);
    }
    let elapsed = start_time.elapsed();
    let expected = 3 * INTERVAL - Duration::from_millis(2);
    assert!(elapsed >= expected, "the fourth must wait for three others: {elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_charged_as_they_are_sent() {
    for make in App::KINDS {
        let server = Server::start();
        let limiter = limiter(&server, per_day(1_000)).await;
        let app = make(&limiter, Options::new().cost(100).charge_bytes_sent());
        assert_eq!(status(&app, "/200/0").await, 200);
        until_remaining(&limiter, 995).await;
        assert_eq!(status(&app, "/200/40").await, 200);
        until_remaining(&limiter, 950).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_axum_and_an_actix_server_share_the_permits_of_a_client() {
    let server = Server::start();
    let mut apps = Vec::new();
    let mut uploads = Vec::new();
    for make in App::KINDS {
        let limiter = limiter(&server, per_day(1_000)).await;
        let two = limiter.concurrency("uploads", 2).expect("the limit is valid");
        apps.push(make(&limiter, Options::new().rule("api").concurrency(two.clone())));
        uploads.push(two);
    }
    for [here, there] in [[0, 1], [1, 0]] {
        let waiting = [start(&apps[here], "/0/1"), start(&apps[there], "/0/1")];
        until_in_use(&uploads[here], 2).await;
        let rejected = apps[here].ask("/200/1").await;
        assert_eq!(rejected.status(), 429);
        assert_eq!(rejected.headers()["ratelimit"], r#""uploads";r=0"#);
        waiting[0].abort();
        until_in_use(&uploads[there], 1).await;
        assert_eq!(status(&apps[there], "/200/1").await, 200);
        waiting[1].abort();
        until_in_use(&uploads[here], 0).await;
    }
}

#[tokio::test]
async fn short_lived_limiters_on_one_redis_share_the_limit() {
    let server = Server::start();
    let storage = RedisStorage::connect(&server.url()).await.expect("the server runs");
    let (log, _guard) = Log::start();
    let mut allowed = 0;
    for _ in 0..40 {
        let limiter = Limiter::new(storage.clone());
        limiter.add_rule(Rule::per_day("api", 7)).expect("the rule is valid");
        let app = App::axum(&limiter, Options::new());
        allowed += u32::from(status(&app, "/200/1").await == 200);
    }
    assert_eq!((allowed, &log.take()[..]), (7, ""));
}
