//! Requests under way: when each holds its place, and when it is given back.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, response::IntoResponse, routing::any};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use throttle_core::{Concurrency, Limiter, Rule, Storage};
use throttle_http::{InFlight, KeptPlaces, OnError, RequestHead};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::{sync::Semaphore, task::spawn as start, time::timeout};
use tower::{Layer, ServiceExt, service_fn};

use common::{Chunks, Failing, Later, Sender, get, get_plain, whole};

const CLIENT: &str = "192.0.2.1";

/// Is a body of which one piece can be had.
struct Half(Option<&'static str>);

impl http_body::Body for Half {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.0.take() else {
            std::panic::resume_unwind(Box::new("on purpose"));
        };
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

/// Has a handler that does what the request says.
#[derive(Clone)]
struct Served {
    router: Router,
    /// Handlers wait until it is closed, those too that come to it later.
    gate: Arc<Semaphore>,
    /// The bodies that are being sent.
    bodies: Arc<Mutex<Vec<Sender>>>,
    /// What handlers kept.
    kept: Arc<Mutex<Vec<KeptPlaces>>>,
}

impl Served {
    fn new(layers: impl IntoIterator<Item = RateThrottleLayer>) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let (bodies, kept) = (Arc::<Mutex<Vec<Sender>>>::default(), Arc::default());
        let (awaited, sent) = (Arc::clone(&gate), Arc::clone(&bodies));
        let keeps: Arc<Mutex<Vec<KeptPlaces>>> = Arc::clone(&kept);
        let handler = async move |request: Request<Body>| {
            let what = request.headers().get("x-do").map_or("", |what| what.to_str().unwrap());
            match what {
                "panic" => std::panic::resume_unwind(Box::new("on purpose")),
                "half" => return Body::new(Half(Some("half"))).into_response(),
                "wait" => drop(awaited.acquire().await),
                "stream" => {
                    let (sender, body) = Chunks::new();
                    sent.lock().unwrap().push(sender);
                    return Body::new(body).into_response();
                }
                "keep" => {
                    let in_flight = request.extensions().get::<InFlight>().unwrap();
                    keeps.lock().unwrap().push(in_flight.keep());
                }
                _ => {}
            }
            "hello".into_response()
        };
        let mut router = Router::new().route("/", any(handler));
        for layer in layers {
            router = router.layer(layer.build().unwrap());
        }
        Self { router, gate, bodies, kept }
    }

    async fn begin(&self, what: &'static str) -> Response<Body> {
        let mut request = get();
        request.headers_mut().insert("x-do", what.parse().unwrap());
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn ask(&self, what: &'static str) -> Response<Bytes> {
        whole(self.begin(what).await).await
    }

    fn send(&self, chunk: Result<&'static str, std::io::Error>) {
        self.bodies.lock().unwrap()[0].send(chunk.map(Bytes::from)).unwrap();
    }

    fn end_body(&self) {
        self.bodies.lock().unwrap().clear();
    }
}

fn of(storage: impl Storage, limit: u64) -> (Limiter, Concurrency) {
    let limiter = Limiter::new(storage);
    let uploads = limiter.concurrency("uploads", limit).unwrap();
    (limiter, uploads)
}

fn served(limit: u64) -> (Served, Concurrency) {
    let (limiter, uploads) = of(MemoryStorage::new(), limit);
    (Served::new([RateThrottleLayer::new(limiter).concurrency(uploads.clone())]), uploads)
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

#[tokio::test]
async fn a_place_is_held_until_the_last_frame_of_the_body() {
    let (app, uploads) = served(1);
    let mut response = app.begin("stream").await;
    for _ in 0..3 {
        app.send(Ok("chunk"));
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!((frame.into_data().unwrap(), in_use(&uploads).await), ("chunk".into(), 1));
        assert_eq!(app.ask("").await.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    app.end_body();
    assert!(response.body_mut().frame().await.is_none());
    assert_eq!(in_use(&uploads).await, 0, "though the body is still there");
    assert_eq!(app.ask("").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_place_is_held_until_the_end_of_a_body_that_says_that_it_ends() {
    let (app, uploads) = served(1);
    let mut response = app.begin("").await;
    assert_eq!(in_use(&uploads).await, 1);
    response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(in_use(&uploads).await, 0, "nobody asks for another frame");
}

#[tokio::test]
async fn a_body_that_fails_gives_the_place_back() {
    let (app, uploads) = served(1);
    let mut response = app.begin("stream").await;
    app.send(Err(std::io::Error::other("the disk is gone")));
    assert!(response.body_mut().frame().await.unwrap().is_err());
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_during_the_body_gives_the_place_back() {
    let (app, uploads) = served(1);
    let mut response = app.begin("stream").await;
    app.send(Ok("half"));
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_response_gives_the_place_back() {
    let (app, uploads) = served(1);
    let asked = app.clone();
    let asking = start(async move { asked.ask("wait").await });
    settle().await;
    assert_eq!(in_use(&uploads).await, 1);
    asking.abort();
    settle().await;
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test]
async fn a_handler_that_panics_gives_the_place_back() {
    let (app, uploads) = served(1);
    assert!(start(async move { app.ask("panic").await }).await.is_err());
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test]
async fn a_body_that_panics_half_way_gives_the_place_back() {
    let (app, uploads) = served(1);
    let mut response = app.begin("half").await;
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!((frame.into_data().unwrap(), in_use(&uploads).await), ("half".into(), 1));
    assert!(start(whole(response)).await.is_err());
    assert_eq!((in_use(&uploads).await, app.ask("").await.status().as_u16()), (0, 200));
}

#[tokio::test]
async fn a_service_that_fails_gives_the_place_back() {
    let (limiter, uploads) = of(MemoryStorage::new(), 1);
    let layer = RateThrottleLayer::new(limiter).concurrency(uploads.clone());
    let inner = service_fn(|_| async { Err::<Response<Empty<Bytes>>, _>("no upstream") });
    assert_eq!(layer.layer(inner).oneshot(get_plain()).await.unwrap_err(), "no upstream");
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test]
async fn a_request_that_is_never_polled_holds_nothing() {
    let (limiter, uploads) = of(MemoryStorage::new(), 1);
    let layer = RateThrottleLayer::new(limiter).concurrency(uploads.clone());
    let inner = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
    drop(layer.layer(inner).oneshot(get_plain()));
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test]
async fn who_leaves_while_the_rules_are_asked_gives_the_place_back() {
    let limiter = Limiter::new(Later::default());
    limiter.add_rule(Rule::per_minute("api", 5)).unwrap();
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    let layer = RateThrottleLayer::new(limiter).rule("api").concurrency(uploads.clone());
    let app = Served::new([layer]);
    for yields in 0..12 {
        let asked = app.clone();
        let asking = start(async move { asked.ask("").await });
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        asking.abort();
        settle().await;
        assert_eq!(in_use(&uploads).await, 0, "after {yields} steps");
    }
}

#[tokio::test]
async fn nested_layers_hold_a_place_each_and_give_back_both() {
    let limiter = Limiter::new(MemoryStorage::new());
    let all = limiter.concurrency("all", 3).unwrap();
    let each = limiter.concurrency("each", 1).unwrap();
    let outer = RateThrottleLayer::new(&limiter)
        .key(|_: &RequestHead<'_>| Some("everybody"))
        .concurrency(all.clone());
    let inner = RateThrottleLayer::new(&limiter).concurrency(each.clone());
    let app = Served::new([inner, outer]);
    let first = app.begin("stream").await;
    assert_eq!(all.in_use("everybody").await.unwrap(), 1);
    assert_eq!(in_use(&each).await, 1);
    let refused = app.ask("").await;
    assert_eq!(refused.status(), 429);
    let policies: Vec<_> = refused.headers().get_all("ratelimit-policy").iter().collect();
    let both = r#""each";q=1;qu="concurrent-requests", "all";q=3;qu="concurrent-requests""#;
    assert_eq!(policies, [both]);
    assert_eq!(all.in_use("everybody").await.unwrap(), 1, "the outer one is given back");
    drop(first);
    assert_eq!((all.in_use("everybody").await.unwrap(), in_use(&each).await), (0, 0));

    assert_eq!(app.ask("keep").await.status(), 200);
    assert_eq!((all.in_use("everybody").await.unwrap(), in_use(&each).await), (1, 1));
    app.kept.lock().unwrap().clear();
    assert_eq!((all.in_use("everybody").await.unwrap(), in_use(&each).await), (0, 0));
}

#[tokio::test]
async fn a_place_that_is_kept_outlives_the_response() {
    let (app, uploads) = served(1);
    assert_eq!(app.ask("keep").await.status(), 200);
    assert_eq!(in_use(&uploads).await, 1);
    assert_eq!(app.ask("").await.status(), 429);
    app.kept.lock().unwrap().clear();
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test]
async fn extensions_that_somebody_keeps_hold_no_place() {
    let (limiter, uploads) = of(MemoryStorage::new(), 1);
    let seen = Arc::new(Mutex::new(None));
    let copy = Arc::clone(&seen);
    let handler = async move |request: Request<Body>| {
        *copy.lock().unwrap() = Some(request.extensions().clone());
    };
    let layer = RateThrottleLayer::new(limiter).concurrency(uploads.clone());
    let app = Router::new().route("/", any(handler)).layer(layer);
    whole(app.oneshot(get()).await.unwrap()).await;
    assert_eq!(in_use(&uploads).await, 0);
    let in_flight = seen.lock().unwrap().as_ref().unwrap().get::<InFlight>().unwrap().clone();
    let _nothing = in_flight.keep();
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test]
async fn a_storage_that_fails_is_a_matter_of_choice_and_loses_no_place() {
    let storage = Failing::default();
    let limiter = Limiter::new(storage.clone());
    limiter.add_rule(Rule::per_minute("api", 5)).unwrap();
    let uploads = limiter.concurrency("uploads", 2).unwrap();
    let layer = || RateThrottleLayer::new(&limiter).rule("api").concurrency(uploads.clone());
    let (strict, open) = (Served::new([layer()]), Served::new([layer().on_error(OnError::Pass)]));
    storage.set_down(true);
    assert_eq!(strict.ask("").await.status(), 503);
    assert_eq!(in_use(&uploads).await, 0);
    let passed = open.begin("").await;
    assert_eq!(
        (passed.status().as_u16(), in_use(&uploads).await),
        (200, 1),
        "its place is counted"
    );
    drop(passed);
    assert_eq!(in_use(&uploads).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_requests_at_once_never_more_than_the_limit_reach_the_handler() {
    let (app, uploads) = served(3);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let app = app.clone();
            start(async move { app.ask("wait").await.status() })
        })
        .collect();
    let refused = async {
        while tasks.iter().filter(|task| task.is_finished()).count() < 97 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), refused).await.unwrap();
    assert_eq!(in_use(&uploads).await, 3);
    app.gate.close();
    let mut passed = 0;
    for task in tasks {
        passed += usize::from(task.await.unwrap() == 200);
    }
    assert_eq!((passed, in_use(&uploads).await), (3, 0));
}
