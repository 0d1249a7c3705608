//! What follows a request past its decision, over a real Redis: it answers later, and is not waited for where
//! a client has left.

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

async fn until_in_use(uploads: &ConcurrencyLimit, expected: u64) {
    for _ in 0..500 {
        if uploads.in_use(CLIENT).await.expect("Redis answers") == expected {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("there are never {expected} in use");
}

/// Asks, and leaves: at every point of the call to Redis, which takes some 100 microseconds.
async fn leave_at_every_point(app: &App, path: &'static str) {
    for turn in 0..60_u64 {
        let asking = start(app, path);
        let stop = std::time::Instant::now() + Duration::from_micros(turn * 10);
        while std::time::Instant::now() < stop {
            tokio::task::yield_now().await;
        }
        asking.abort();
    }
    // Those that are still on their way may take something yet.
    sleep(Duration::from_millis(100)).await;
}

fn a_day(limit: u64) -> Rule {
    Rule::per_day("api", limit).algorithm(Algorithm::FixedWindow)
}

#[tokio::test(flavor = "multi_thread")]
async fn charge_if_gives_back_before_the_response_is_sent() {
    for make in App::KINDS {
        let server = Server::start();
        let limiter = limiter(&server, a_day(10)).await;
        let app = make(&limiter, Options::new().charge_if(|response| response.status() == 401));
        for _ in 0..3 {
            let response = app.ask("/200/1").await;
            assert!(
                response.headers()["ratelimit"].to_str().unwrap().starts_with(r#""api";r=10;"#)
            );
            assert_eq!(left(&limiter).await, 10);
        }
        assert_eq!(status(&app, "/401/1").await, 401);
        assert_eq!(left(&limiter).await, 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shaped_request_waits_and_one_that_leaves_gives_its_turn_back() {
    for make in App::KINDS {
        let server = Server::start();
        // A turn every twenty seconds: nobody's comes while the test runs, but for the first.
        let rule = Rule::new("api", 3, Duration::from_secs(60)).algorithm(Algorithm::LeakyBucket);
        let limiter = limiter(&server, rule.burst(20)).await;
        let app = make(&limiter, Options::new().shape());
        assert_eq!(status(&app, "/200/1").await, 200);
        let waiting: Vec<_> = (0..5).map(|_| start(&app, "/200/1")).collect();
        until_left(&limiter, 14).await;
        assert!(waiting.iter().all(|one| !one.is_finished()), "their turns are far away");
        waiting.iter().for_each(JoinHandle::abort);
        until_left(&limiter, 19).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_redis_is_asked_for_a_turn_gives_it_back() {
    for make in App::KINDS {
        let server = Server::start();
        let rule = Rule::new("api", 3, Duration::from_secs(60)).algorithm(Algorithm::LeakyBucket);
        let limiter = limiter(&server, rule.burst(100)).await;
        let app = make(&limiter, Options::new().shape());
        assert_eq!(status(&app, "/200/1").await, 200);
        leave_at_every_point(&app, "/200/1").await;
        until_left(&limiter, 99).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_settled_to_what_it_cost_also_where_the_client_has_left() {
    for make in App::KINDS {
        let server = Server::start();
        let limiter = limiter(&server, a_day(1_000)).await;
        let app = make(&limiter, Options::new().cost(100).charge_actual());
        assert_eq!(status(&app, "/200/7").await, 200);
        until_left(&limiter, 993).await;
        assert_eq!(status(&app, "/200/293").await, 200);
        until_left(&limiter, 700).await;
        let asking = start(&app, "/0/20");
        app.reached.notified().await;
        asking.abort();
        until_left(&limiter, 680).await;
        assert_eq!(status(&app, "/200/5000").await, 200);
        until_left(&limiter, 0).await;
        assert_eq!(limiter.metrics().denied, 0, "what finds no room is forgiven");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_handler_is_called_has_the_estimate_given_back() {
    for make in App::KINDS {
        let server = Server::start();
        let limiter = limiter(&server, a_day(1_000)).await;
        let app = make(&limiter, Options::new().cost(10).charge_actual());
        assert_eq!(status(&app, "/200/0").await, 200);
        leave_at_every_point(&app, "/0/0").await; // costs nothing where the handler is called
        until_left(&limiter, 1_000).await;
    }
}

/// Makes an app of each kind, with a limiter and connections of its own.
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
    let Ok(apps) = apps.try_into() else { panic!("there are two kinds") };
    apps
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_gives_back_or_settles_the_other_has_to_give() {
    let server = Server::start();
    let options = || Options::new().charge_if(|response| response.status() == 401);
    let [one, other] = one_of_each(&server, &a_day(10), options).await;
    for ((app, _), path, expected) in
        [(&one, "/200/1", 10), (&other, "/200/1", 10), (&one, "/401/1", 9), (&other, "/401/1", 8)]
    {
        status(app, path).await;
        assert_eq!((left(&one.1).await, left(&other.1).await), (expected, expected), "{path}");
    }

    let server = Server::start();
    let options = || Options::new().cost(100).charge_actual();
    let [one, other] = one_of_each(&server, &a_day(1_000), options).await;
    for ((app, _), (_, elsewhere), path, expected) in [
        (&one, &other, "/200/7", 993),
        (&other, &one, "/200/293", 700),
        (&one, &other, "/200/5000", 0),
    ] {
        assert_eq!(status(app, path).await, 200);
        until_left(elsewhere, expected).await;
    }
    assert_eq!(status(&other.0, "/200/1").await, 429, "the one used it up");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_a_turn_reaches_the_handlers_of_two_servers() {
    const TURN: Duration = Duration::from_millis(200);
    let server = Server::start();
    let rule = Rule::per_second("api", 5).algorithm(Algorithm::LeakyBucket).burst(10);
    let [one, other] = one_of_each(&server, &rule, || Options::new().shape()).await;
    let begun = std::time::Instant::now();
    let waiting = [&one, &other, &one, &other].map(|(app, _)| start(app, "/200/1"));
    for request in waiting {
        assert_eq!(request.await.expect("nobody left"), 200);
    }
    let took = begun.elapsed();
    assert!(took >= 3 * TURN - Duration::from_millis(2), "the fourth waits for three: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_settled_as_they_are_sent() {
    for make in App::KINDS {
        let server = Server::start();
        let limiter = limiter(&server, a_day(1_000)).await;
        let app = make(&limiter, Options::new().cost(100).charge_bytes_sent());
        assert_eq!(status(&app, "/200/0").await, 200);
        until_left(&limiter, 995).await;
        assert_eq!(status(&app, "/200/40").await, 200);
        until_left(&limiter, 950).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_axum_and_one_of_actix_share_the_places_of_a_client() {
    let server = Server::start();
    let mut apps = Vec::new();
    let mut uploads = Vec::new();
    for make in App::KINDS {
        let limiter = limiter(&server, a_day(1_000)).await;
        let two = limiter.concurrency("uploads", 2).expect("the limit is right");
        apps.push(make(&limiter, Options::new().rule("api").concurrency(two.clone())));
        uploads.push(two);
    }
    for [here, there] in [[0, 1], [1, 0]] {
        let waiting = [start(&apps[here], "/0/1"), start(&apps[there], "/0/1")];
        until_in_use(&uploads[here], 2).await;
        let refused = apps[here].ask("/200/1").await;
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["ratelimit"], r#""uploads";r=0"#);
        waiting[0].abort();
        until_in_use(&uploads[there], 1).await;
        assert_eq!(status(&apps[there], "/200/1").await, 200);
        waiting[1].abort();
        until_in_use(&uploads[here], 0).await;
    }
}

#[tokio::test]
async fn limiters_that_come_and_go_over_one_redis_keep_the_limit_and_are_no_mistake() {
    let server = Server::start();
    let storage = RedisStorage::connect(&server.url()).await.expect("the server runs");
    let (log, _guard) = Log::start();
    let mut passed = 0;
    for _ in 0..40 {
        let limiter = Limiter::new(storage.clone());
        limiter.add_rule(Rule::per_day("api", 7)).expect("the rule is right");
        let app = App::axum(&limiter, Options::new());
        passed += u32::from(status(&app, "/200/1").await == 200);
    }
    assert_eq!((passed, &log.take()[..]), (7, ""));
}
