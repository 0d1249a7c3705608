//! Requests under way: when each holds its place, and when it is given back.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use actix_web::{
    App, Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    rt::spawn as start,
    test::init_service,
    web,
};
use bytes::Bytes;
use throttle_actix::RateThrottle;
use throttle_core::{Concurrency, Limiter, Rule};
use throttle_http::{InFlight, KeptPlaces, OnError, RequestHead};
use throttle_memory::MemoryStorage;

use common::{Begun, Chunks, Failing, Later, Sender, get};

const CLIENT: &str = "192.0.2.1";

type Answer = Pin<Box<dyn Future<Output = Begun>>>;

/// Is a body of which one piece can be had.
struct Half(Option<&'static str>);

impl MessageBody for Half {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let Some(piece) = self.0.take() else {
            std::panic::resume_unwind(Box::new("on purpose"));
        };
        Poll::Ready(Some(Ok(piece.into())))
    }
}

/// What handlers leave with the test.
#[derive(Clone, Default)]
struct Left {
    bodies: Arc<Mutex<Vec<Sender>>>,
    kept: Arc<Mutex<Vec<KeptPlaces>>>,
}

async fn handler(request: HttpRequest, left: web::Data<Left>) -> Result<HttpResponse, Error> {
    let what = request.headers().get("x-do").map_or("", |what| what.to_str().unwrap()).to_owned();
    match &what[..] {
        "panic" => std::panic::resume_unwind(Box::new("on purpose")),
        "half" => Ok(HttpResponse::Ok().body(Half(Some("half")))),
        "wait" => pending().await,
        "fail" => Err(actix_web::error::ErrorBadGateway("no upstream")),
        "stream" => {
            let (sender, body) = Chunks::new();
            left.bodies.lock().unwrap().push(sender);
            Ok(HttpResponse::Ok().body(body))
        }
        "keep" => {
            let in_flight = request.extensions().get::<InFlight>().unwrap().clone();
            left.kept.lock().unwrap().push(in_flight.keep());
            Ok(HttpResponse::Ok().body("kept"))
        }
        _ => Ok(HttpResponse::Ok().body("hello")),
    }
}

/// Is an app whose handler does what the request says.
#[derive(Clone)]
struct Served {
    app: Rc<dyn Fn(&'static str) -> Answer>,
    left: Left,
}

impl Served {
    async fn new(outer: RateThrottle, inner: RateThrottle) -> Self {
        let left = Left::default();
        let app = App::new().app_data(web::Data::new(left.clone()));
        let app = app.wrap(inner.build().unwrap()).wrap(outer.build().unwrap());
        let app = Rc::new(init_service(app.default_service(web::to(handler))).await);
        let app = Rc::new(move |what: &'static str| -> Answer {
            let app = app.clone();
            let mut request = get();
            request.headers_mut().insert("x-do", what.parse().unwrap());
            Box::pin(async move { Begun::by(&*app, request).await })
        });
        Self { app, left }
    }

    async fn begin(&self, what: &'static str) -> Begun {
        (self.app)(what).await
    }

    async fn status(&self, what: &'static str) -> u16 {
        let begun = self.begin(what).await;
        let status = begun.status;
        begun.rest().await;
        status
    }

    fn send(&self, chunk: Result<&'static str, std::io::Error>) {
        self.left.bodies.lock().unwrap()[0].send(chunk.map(Into::into)).unwrap();
    }
}

async fn served(limit: u64) -> (Served, Concurrency) {
    let limiter = Limiter::new(MemoryStorage::new());
    let uploads = limiter.concurrency("uploads", limit).unwrap();
    let throttle = RateThrottle::new(&limiter).concurrency(uploads.clone());
    let nothing = RateThrottle::new(Rule::per_second("all", 1_000_000));
    (Served::new(nothing, throttle).await, uploads)
}

async fn in_use(uploads: &Concurrency) -> u64 {
    uploads.in_use(CLIENT).await.unwrap()
}

/// Lets what can go on go on.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[actix_web::test]
async fn a_place_is_held_until_the_end_of_the_body() {
    let (app, uploads) = served(1).await;
    let mut response = app.begin("stream").await;
    for _ in 0..3 {
        app.send(Ok("chunk"));
        assert_eq!(response.next().await.unwrap().unwrap(), "chunk");
        assert_eq!((in_use(&uploads).await, app.status("").await), (1, 429));
    }
    app.left.bodies.lock().unwrap().clear();
    assert!(response.next().await.is_none());
    assert_eq!(in_use(&uploads).await, 0, "though the body is still there");
    assert_eq!(app.status("").await, 200);
}

#[actix_web::test]
async fn a_body_that_fails_gives_the_place_back() {
    let (app, uploads) = served(1).await;
    let mut response = app.begin("stream").await;
    app.send(Err(std::io::Error::other("the disk is gone")));
    assert!(response.next().await.unwrap().is_err());
    assert_eq!(in_use(&uploads).await, 0);
}

#[actix_web::test]
async fn a_client_that_goes_away_during_the_body_gives_the_place_back() {
    let (app, uploads) = served(1).await;
    let mut response = app.begin("stream").await;
    app.send(Ok("half"));
    response.next().await.unwrap().unwrap();
    drop(response);
    assert_eq!(in_use(&uploads).await, 0);
}

#[actix_web::test]
async fn a_client_that_goes_away_before_the_response_gives_the_place_back() {
    let (app, uploads) = served(1).await;
    let asked = app.clone();
    let asking = start(async move { asked.status("wait").await });
    settle().await;
    assert_eq!(in_use(&uploads).await, 1);
    asking.abort();
    settle().await;
    assert_eq!(in_use(&uploads).await, 0);
}

#[actix_web::test]
async fn a_handler_that_panics_or_fails_gives_the_place_back() {
    let (app, uploads) = served(1).await;
    assert_eq!(app.status("fail").await, 502);
    assert_eq!(in_use(&uploads).await, 0);
    assert!(start(async move { app.status("panic").await }).await.is_err());
    assert_eq!(in_use(&uploads).await, 0);
}

#[actix_web::test]
async fn a_body_that_panics_half_way_gives_the_place_back() {
    let (app, uploads) = served(1).await;
    let mut response = app.begin("half").await;
    assert_eq!(response.next().await.unwrap().unwrap(), "half");
    assert_eq!(in_use(&uploads).await, 1);
    assert!(start(response.rest()).await.is_err());
    assert_eq!((in_use(&uploads).await, app.status("").await), (0, 200));
}

#[actix_web::test]
async fn a_place_that_is_kept_outlives_the_response() {
    let (app, uploads) = served(1).await;
    assert_eq!(app.status("keep").await, 200);
    assert_eq!((in_use(&uploads).await, app.status("").await), (1, 429));
    app.left.kept.lock().unwrap().clear();
    assert_eq!(in_use(&uploads).await, 0);
}

#[actix_web::test]
async fn a_storage_that_fails_is_a_matter_of_choice_and_loses_no_place() {
    let storage = Failing::default();
    let limiter = Limiter::new(storage.clone());
    limiter.add_rule(Rule::per_minute("api", 5)).unwrap();
    let uploads = limiter.concurrency("uploads", 2).unwrap();
    let throttle = || RateThrottle::new(&limiter).rule("api").concurrency(uploads.clone());
    let nothing = || RateThrottle::new(Rule::per_second("all", 1_000_000));
    let strict = Served::new(nothing(), throttle()).await;
    let open = Served::new(nothing(), throttle().on_error(OnError::Pass)).await;
    storage.set_down(true);
    assert_eq!((strict.status("").await, in_use(&uploads).await), (503, 0));
    let passed = open.begin("").await;
    assert_eq!((passed.status, in_use(&uploads).await), (200, 1), "its place is counted");
    drop(passed);
    assert_eq!(in_use(&uploads).await, 0);
}

#[actix_web::test]
async fn who_leaves_while_the_rules_are_asked_gives_the_place_back() {
    let limiter = Limiter::new(Later::default());
    limiter.add_rule(Rule::per_minute("api", 5)).unwrap();
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    let throttle = RateThrottle::new(&limiter).rule("api").concurrency(uploads.clone());
    let nothing = RateThrottle::new(Rule::per_second("all", 1_000_000));
    let app = Served::new(nothing, throttle).await;
    for yields in 0..12 {
        let asked = app.clone();
        let asking = start(async move { asked.status("").await });
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        asking.abort();
        settle().await;
        assert_eq!(in_use(&uploads).await, 0, "after {yields} steps");
    }
}

#[actix_web::test]
async fn nested_throttles_hold_a_place_each_and_give_back_both() {
    let limiter = Limiter::new(MemoryStorage::new());
    let all = limiter.concurrency("all", 3).unwrap();
    let each = limiter.concurrency("each", 1).unwrap();
    let outer = RateThrottle::new(&limiter)
        .key(|_: &RequestHead<'_>| Some("everybody"))
        .concurrency(all.clone());
    let app = Served::new(outer, RateThrottle::new(&limiter).concurrency(each.clone())).await;
    let first = app.begin("stream").await;
    let used = async || (all.in_use("everybody").await.unwrap(), in_use(&each).await);
    assert_eq!(used().await, (1, 1));
    let refused = app.begin("").await;
    let policies: Vec<_> = refused.fields.get_all("ratelimit-policy").iter().collect();
    let both = r#""each";q=1;qu="concurrent-requests", "all";q=3;qu="concurrent-requests""#;
    assert_eq!(refused.status, 429);
    assert_eq!(policies, [both]);
    drop(refused);
    assert_eq!(used().await, (1, 1), "the outer one is given back");
    drop(first);
    assert_eq!(used().await, (0, 0));
    assert_eq!(app.status("keep").await, 200);
    assert_eq!(used().await, (1, 1), "they are kept");
    app.left.kept.lock().unwrap().clear();
    assert_eq!(used().await, (0, 0));
}
