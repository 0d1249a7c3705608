//! Requests that are charged an estimate and settled to what they turned out to cost.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    future::pending,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, middleware::Condition, rt::spawn as start, test::init_service,
    web,
};
use throttle_actix::RateThrottle;
use throttle_core::{Algorithm, Limiter, ManualClock, Rule, Storage};
use throttle_http::ActualCost;
use throttle_memory::MemoryStorage;

use common::{Begun, Chunks, Later, Sender, begin, get};

const ESTIMATE: u64 = 10;

type Answer = Pin<Box<dyn Future<Output = Begun>>>;
type Fields = &'static [(&'static str, &'static str)];
type Streamed = Arc<Mutex<Option<(Sender, ActualCost)>>>;

/// Does what the request says, and says that it cost as much.
async fn handler(
    request: HttpRequest,
    cost: web::ReqData<ActualCost>,
    streamed: web::Data<Streamed>,
) -> HttpResponse {
    let field = |name| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
    if let Ok(actual) = field("x-cost").parse() {
        cost.set(actual);
    }
    match field("x-do") {
        "panic" => std::panic::resume_unwind(Box::new("on purpose")),
        "wait" => pending().await,
        "stream" => {
            let (sender, body) = Chunks::new();
            *streamed.lock().unwrap() = Some((sender, cost.into_inner()));
            HttpResponse::Ok().body(body)
        }
        "304" => HttpResponse::NotModified().finish(),
        _ => HttpResponse::Ok()
            .insert_header(("x-tokens", field("x-tokens").to_owned()))
            .body("hello"),
    }
}

#[derive(Clone)]
struct Served {
    app: Rc<dyn Fn(Fields) -> Answer>,
    streamed: Streamed,
}

impl Served {
    async fn new(throttle: RateThrottle) -> Self {
        Self::within(throttle, None).await
    }

    /// Has a throttle, and another around it.
    async fn within(throttle: RateThrottle, outer: Option<RateThrottle>) -> Self {
        let streamed = Streamed::default();
        let built = |throttle: RateThrottle| throttle.cost(ESTIMATE).build().unwrap();
        let throttle = built(throttle);
        let is_within = outer.is_some();
        let around = Condition::new(is_within, outer.map_or_else(|| throttle.clone(), built));
        let app = App::new()
            .app_data(web::Data::new(streamed.clone()))
            .wrap(throttle)
            .wrap(around)
            .default_service(web::to(handler));
        let app = Rc::new(init_service(app).await);
        let app = Rc::new(move |fields: Fields| -> Answer {
            let app = app.clone();
            let mut request = get();
            for (name, value) in fields {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
            Box::pin(async move { Begun::by(&*app, request).await })
        });
        Self { app, streamed }
    }

    async fn begin(&self, fields: Fields) -> Begun {
        (self.app)(fields).await
    }

    async fn ask(&self, fields: Fields) -> String {
        self.begin(fields).await.rest().await
    }

    /// Lets the handler's stream send a chunk, and say what it cost.
    fn send(&self, chunk: &'static str, cost: u64) {
        let streamed = self.streamed.lock().unwrap();
        let (sender, actual) = streamed.as_ref().unwrap();
        actual.add(cost);
        sender.send(Ok(chunk.into())).unwrap();
    }
}

fn limiter(storage: impl Storage) -> (Limiter, ManualClock) {
    limiter_by(storage, Algorithm::FixedWindow)
}

fn limiter_by(storage: impl Storage, algorithm: Algorithm) -> (Limiter, ManualClock) {
    let clock = ManualClock::at(begin());
    let limiter = Limiter::builder(storage).clock(clock.clone()).build();
    limiter.add_rule(Rule::per_minute("tokens", 100).algorithm(algorithm)).unwrap();
    (limiter, clock)
}

async fn served() -> (Served, Limiter, ManualClock) {
    let (limiter, clock) = limiter(MemoryStorage::new());
    (Served::new(RateThrottle::new(&limiter).charge_actual()).await, limiter, clock)
}

async fn left(limiter: &Limiter) -> u64 {
    limiter.peek("192.0.2.1", "tokens").await.unwrap().remaining()
}

/// Lets what can go on go on.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[actix_web::test]
async fn a_request_is_settled_to_what_the_handler_says() {
    let cases: [(Fields, u64); 4] =
        [(&[("x-cost", "3")], 97), (&[("x-cost", "25")], 75), (&[("x-cost", "999")], 0), (&[], 90)];
    for (fields, expected) in cases {
        let (app, limiter, _) = served().await;
        let response = app.begin(fields).await;
        assert_eq!(response.field("ratelimit"), r#""tokens";r=90;t=60"#, "the estimate");
        assert_eq!(response.rest().await, "hello");
        assert_eq!(left(&limiter).await, expected, "{fields:?}");
    }
}

#[actix_web::test]
async fn it_is_settled_by_every_algorithm_and_where_rules_have_less_room_as_far_as_they_have() {
    for algorithm in Algorithm::ALL {
        for (fields, expected) in
            [(&[("x-cost", "0")], 100), (&[("x-cost", "10")], 90), (&[("x-cost", "40")], 60)]
        {
            let (limiter, _) = limiter_by(MemoryStorage::new(), algorithm);
            limiter.add_rule(Rule::per_day("day", 15).algorithm(Algorithm::FixedWindow)).unwrap();
            let app = Served::new(RateThrottle::new(&limiter).charge_actual()).await;
            app.ask(fields).await;
            assert_eq!(left(&limiter).await, expected, "{algorithm}, {fields:?}");
            let day = limiter.peek("192.0.2.1", "day").await.unwrap().remaining();
            assert_eq!(day, 15_u64.saturating_sub(100 - expected), "{algorithm}, {fields:?}");
        }
    }
}

#[actix_web::test]
async fn what_finds_no_room_is_forgiven_and_neither_denied_nor_counted() {
    let (app, limiter, _) = served().await;
    app.ask(&[("x-cost", "1000")]).await;
    assert_eq!(left(&limiter).await, 0);
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.denied, metrics.violations), (1, 0, 0));
    assert_eq!(app.begin(&[]).await.status, 429);
}

#[actix_web::test]
async fn nested_throttles_hear_it_both() {
    let (limiter, _) = limiter(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("day", 500).algorithm(Algorithm::FixedWindow)).unwrap();
    let throttle = |rule| RateThrottle::new(&limiter).rule(rule).charge_actual();
    let app = Served::within(throttle("tokens"), Some(throttle("day"))).await;
    app.ask(&[("x-cost", "4")]).await;
    assert_eq!(left(&limiter).await, 96);
    assert_eq!(limiter.peek("192.0.2.1", "day").await.unwrap().remaining(), 496);
}

#[actix_web::test]
async fn who_is_allowed_or_asked_in_a_dry_run_is_settled_to_nothing() {
    let (limiter, _) = limiter(MemoryStorage::new());
    limiter.allow_list().add("192.0.2.1").unwrap();
    let throttle = RateThrottle::new(&limiter).charge_actual().dry_run().cost(60);
    // Nobody is charged, so that there is nothing that a handler could settle.
    let settles = async |cost: Option<web::ReqData<ActualCost>>| cost.is_some().to_string();
    let app = init_service(App::new().wrap(throttle).default_service(web::to(settles))).await;
    let ask = async || Begun::by(&app, get()).await.rest().await;
    assert_eq!(ask().await, "false");
    limiter.allow_list().clear();
    assert_eq!(ask().await, "true");
    assert_eq!(ask().await, "false", "it would have been denied");
    assert_eq!(left(&limiter).await, 40);
}

#[actix_web::test]
async fn a_stream_says_what_it_costs_while_it_is_sent() {
    let (app, limiter, _) = served().await;
    let mut response = app.begin(&[("x-do", "stream")]).await;
    for cost in [1, 2, 30] {
        app.send("chunk", cost);
        response.next().await.unwrap().unwrap();
        assert_eq!(left(&limiter).await, 90, "the estimate, until the end");
    }
    *app.streamed.lock().unwrap() = None;
    assert!(response.next().await.is_none());
    assert_eq!(left(&limiter).await, 67);
}

#[actix_web::test]
async fn a_client_that_goes_away_pays_what_is_known() {
    let (app, limiter, _) = served().await;
    let mut response = app.begin(&[("x-do", "stream")]).await;
    app.send("chunk", 4);
    response.next().await.unwrap().unwrap();
    drop(response);
    assert_eq!(left(&limiter).await, 96);
    let asking = start(async move { app.ask(&[("x-do", "wait"), ("x-cost", "6")]).await });
    settle().await;
    asking.abort();
    settle().await;
    assert_eq!(left(&limiter).await, 90);
}

#[actix_web::test]
async fn a_handler_that_panics_pays_what_it_said() {
    let (app, limiter, _) = served().await;
    let asking = start(async move { app.ask(&[("x-do", "panic"), ("x-cost", "4")]).await });
    assert!(asking.await.is_err());
    assert_eq!(left(&limiter).await, 96);
}

#[actix_web::test]
async fn what_was_too_much_goes_back_to_the_window_that_was_charged_and_to_no_later_one() {
    let (app, limiter, clock) = served().await;
    let response = app.begin(&[("x-do", "stream")]).await;
    clock.advance(Duration::from_secs(60));
    app.ask(&[]).await;
    app.send("", 1);
    drop(response);
    assert_eq!(left(&limiter).await, 90, "the later window keeps what it was charged");
}

#[actix_web::test]
async fn what_was_too_little_is_charged_to_the_window_in_which_it_is_known() {
    let (app, limiter, clock) = served().await;
    let response = app.begin(&[("x-do", "stream")]).await;
    clock.advance(Duration::from_secs(60));
    app.send("", 40);
    drop(response);
    assert_eq!(left(&limiter).await, 70);
}

#[actix_web::test]
async fn what_the_head_of_the_response_tells_is_settled_before_it_is_sent() {
    let (limiter, _) = limiter(MemoryStorage::new());
    let throttle = RateThrottle::new(&limiter)
        .charge_if(|response| response.status() != 304)
        .charge_actual_by(|head| head.header("x-tokens")?.parse().ok());
    let app = Served::new(throttle).await;
    let response = app.begin(&[("x-tokens", "4")]).await;
    assert_eq!(response.field("ratelimit"), r#""tokens";r=96;t=60"#);
    let response = app.begin(&[("x-do", "304"), ("x-cost", "40")]).await;
    assert_eq!(response.field("ratelimit"), r#""tokens";r=96;t=60"#);
    assert_eq!(left(&limiter).await, 96);
}

#[actix_web::test]
async fn bytes_are_charged_as_they_are_sent() {
    let (limiter, _) = limiter(MemoryStorage::new());
    let app = Served::new(RateThrottle::new(&limiter).charge_bytes_sent()).await;
    assert_eq!(app.ask(&[]).await, "hello");
    assert_eq!(left(&limiter).await, 95);
    let mut response = app.begin(&[("x-do", "stream")]).await;
    app.send("twenty bytes of text", 0);
    app.send("never seen", 0);
    response.next().await.unwrap().unwrap();
    drop(response);
    assert_eq!(left(&limiter).await, 75, "what the client did not get is not charged");
    app.ask(&[("x-do", "304")]).await;
    assert_eq!(left(&limiter).await, 75, "nor is a response without a body");
    app.ask(&[("x-do", "304"), ("x-cost", "3")]).await;
    assert_eq!(left(&limiter).await, 72, "but for what the handler says");
}

#[actix_web::test]
async fn a_storage_that_answers_later_is_settled_though_nobody_waits() {
    let (limiter, _) = limiter(Later::default());
    let app = Served::new(RateThrottle::new(&limiter).charge_actual()).await;
    app.ask(&[("x-cost", "40")]).await;
    settle().await;
    assert_eq!(left(&limiter).await, 60);
}
