//! Streams of an HTTP/2 connection: each is limited separately, and may be reset separately.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    App, HttpResponse,
    body::{BodySize, MessageBody},
    web,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use throttle_actix::RateThrottle;
use throttle_core::{ConcurrencyLimit, Limiter, Rule};
use throttle_http::{ActualCost, Headers};
use throttle_memory::MemoryStorage;
use tokio::{
    net::TcpStream,
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::{sleep, timeout},
};

use common::{Runtime, Server, field};

const CLIENT: &str = "127.0.0.1";
const LIMIT: u64 = 1_000;
const ESTIMATE: u64 = 10;
const PLACES: u64 = 3;

/// The values that handlers share with the test.
#[derive(Clone)]
struct Seen {
    bodies: Arc<Mutex<Vec<UnboundedSender<Bytes>>>>,
    gate: Arc<Semaphore>,
}

async fn wait(cost: web::ReqData<ActualCost>, seen: web::Data<Seen>) -> &'static str {
    cost.set(2);
    drop(seen.gate.acquire().await);
    "waited"
}

async fn stream(cost: web::ReqData<ActualCost>, seen: web::Data<Seen>) -> HttpResponse {
    cost.set(2);
    let (sender, receiver) = unbounded_channel();
    seen.bodies.lock().unwrap().push(sender);
    HttpResponse::Ok().body(Chunks(receiver))
}

/// A body of the chunks that are sent to it, until the sender is dropped.
struct Chunks(UnboundedReceiver<Bytes>);

impl MessageBody for Chunks {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(Ok))
    }
}

async fn panics() -> &'static str {
    std::panic::resume_unwind(Box::new("on purpose"))
}

/// A server with a concurrency limit for each client, and a connection of a client to it.
struct Served {
    _server: Server,
    connection: SendRequest<Empty<Bytes>>,
    seen: Seen,
    limiter: Limiter,
    uploads: ConcurrencyLimit,
}

impl Served {
    async fn new() -> Self {
        let limiter = Limiter::new(MemoryStorage::new());
        limiter.add_rule(Rule::per_day("tokens", LIMIT)).unwrap();
        let uploads = limiter.concurrency("uploads", PLACES).unwrap();
        let throttle = RateThrottle::new(&limiter)
            .rule("tokens")
            .cost(ESTIMATE)
            .charge_actual()
            .concurrency(uploads.clone())
            .build()
            .unwrap();
        let seen = Seen { bodies: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
        let data = web::Data::new(seen.clone());
        let server = Server::start(Runtime::SystemOfHttp2, 1, 1, move || {
            App::new()
                .app_data(data.clone())
                .wrap(throttle.clone())
                .route("/wait", web::get().to(wait))
                .route("/stream", web::get().to(stream))
                .route("/panic", web::get().to(panics))
                .route("/", web::get().to(async || "hello"))
        });
        let connection = connect(server.addresses[0]).await;
        Self { _server: server, connection, seen, limiter, uploads }
    }

    async fn begin(&self, path: &str) -> hyper::Result<Response<Incoming>> {
        begin(&self.connection, path).await
    }

    async fn status(&self, path: &str) -> u16 {
        let response = self.begin(path).await.unwrap();
        let status = response.status().as_u16();
        response.into_body().collect().await.unwrap();
        status
    }

    fn send(&self, nth: usize, chunk: &'static str) {
        // The client may have disconnected.
        let _ = self.seen.bodies.lock().unwrap()[nth].send(chunk.into());
    }

    async fn until_in_use(&self, expected: u64) {
        until("in use", expected, async || self.uploads.in_use(CLIENT).await.unwrap()).await;
    }

    async fn until_left(&self, expected: u64) {
        let left = async || self.limiter.peek(CLIENT, "tokens").await.unwrap().remaining();
        until("left", expected, left).await;
    }
}

/// Opens a connection, which ends when its last user is dropped.
async fn connect(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn begin(
    connection: &SendRequest<Empty<Bytes>>,
    path: &str,
) -> hyper::Result<Response<Incoming>> {
    let request = Request::get(format!("http://localhost{path}"));
    connection.clone().send_request(request.body(Empty::new()).unwrap()).await
}

async fn until(what: &str, expected: u64, is: impl AsyncFn() -> u64) {
    let reached = async {
        while is().await != expected {
            sleep(Duration::from_millis(1)).await;
        }
    };
    if timeout(Duration::from_secs(20), reached).await.is_err() {
        panic!("{} are {what}, and never {expected}", is().await);
    }
}

/// Reads the next chunk; the frame at the end of the stream is empty.
async fn next(response: &mut Response<Incoming>) -> Option<Bytes> {
    let frame = response.frame().await?;
    Some(frame.unwrap().into_data().unwrap()).filter(|piece| !piece.is_empty())
}

#[actix_web::test]
async fn one_stream_of_a_connection_is_rejected_with_all_fields_and_the_next_continues() {
    let throttle = RateThrottle::new(Rule::per_day("api", 2)).headers(Headers::all());
    let throttle = throttle.exempt(|head| head.path() == "/free").build().unwrap();
    let server = Server::start(Runtime::SystemOfHttp2, 1, 1, move || {
        App::new().wrap(throttle.clone()).default_service(web::to(async || "hello"))
    });
    let connection = connect(server.addresses[0]).await;
    for left in ["1", "0"] {
        let response = begin(&connection, "/").await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
        assert!(field(&response, "ratelimit").starts_with(&format!("\"api\";r={left};t=")));
        assert_eq!(field(&response, "ratelimit-policy"), r#""api";q=2;w=86400"#);
        assert_eq!(field(&response, "x-ratelimit-remaining"), left);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    let rejected = begin(&connection, "/").await.unwrap();
    assert_eq!(rejected.status(), 429);
    assert!(field(&rejected, "ratelimit").starts_with("\"api\";r=0;t="));
    assert_eq!(field(&rejected, "ratelimit-policy"), r#""api";q=2;w=86400"#);
    assert_eq!(field(&rejected, "x-ratelimit-limit"), "2");
    assert_eq!(field(&rejected, "x-ratelimit-remaining"), "0");
    assert!(field(&rejected, "x-ratelimit-reset").parse::<u64>().unwrap() > 0);
    assert!(field(&rejected, "retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(field(&rejected, "content-type"), "application/problem+json");
    let length = field(&rejected, "content-length").parse::<usize>().unwrap();
    let body = rejected.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), length);
    assert!(body.starts_with(b"{\"type\":"));
    assert_eq!(begin(&connection, "/free").await.unwrap().status(), 200);
}

#[actix_web::test]
async fn a_body_arrives_in_chunks_and_holds_its_permit_to_its_end() {
    let app = Served::new().await;
    let mut response = app.begin("/stream").await.unwrap();
    for piece in ["one", "two", "three"] {
        app.send(0, piece);
        assert_eq!(next(&mut response).await.unwrap(), piece);
        assert_eq!(app.uploads.in_use(CLIENT).await.unwrap(), 1);
    }
    app.until_left(LIMIT - ESTIMATE).await;
    app.seen.bodies.lock().unwrap().clear();
    assert_eq!(next(&mut response).await, None);
    app.until_in_use(0).await;
    app.until_left(LIMIT - 2).await;
}

#[actix_web::test]
async fn a_stream_that_is_reset_releases_its_permit_and_other_streams_continue() {
    let app = Served::new().await;
    let mut streams = Vec::new();
    for nth in 0..3 {
        let mut response = app.begin("/stream").await.unwrap();
        app.send(nth, "begun");
        assert_eq!(next(&mut response).await.unwrap(), "begun");
        streams.push(response);
    }
    assert_eq!(app.status("/").await, 429, "another connection does not bypass the limit");
    drop(streams.remove(1));
    // A server of Actix notices the reset when it sends something.
    until("in use", 2, async || {
        app.send(1, "not read");
        app.uploads.in_use(CLIENT).await.unwrap()
    })
    .await;
    app.until_left(LIMIT - 2 - 2 * ESTIMATE).await;
    assert_eq!(app.status("/").await, 200);
    for (nth, response) in [0, 2].into_iter().zip(&mut streams) {
        app.send(nth, "on");
        assert_eq!(next(response).await.unwrap(), "on");
    }
    app.until_in_use(2).await;
}

#[actix_web::test]
async fn a_stream_that_is_reset_before_its_response_releases_its_permit_when_the_handler_returns() {
    let app = Served::new().await;
    {
        let mut leaving = pin!(app.begin("/wait"));
        let waits = timeout(Duration::from_millis(20), leaving.as_mut()).await;
        assert!(waits.is_err(), "the handler waits");
        app.until_in_use(1).await;
    }
    assert_eq!(app.status("/").await, 200, "the connection continues");
    app.seen.gate.close();
    app.until_in_use(0).await;
    // The other request reported no cost.
    app.until_left(LIMIT - ESTIMATE - 2).await;
}

#[actix_web::test]
async fn a_connection_that_is_aborted_releases_all_of_its_permits() {
    let app = Served::new().await;
    let Served { connection, _server: server, seen, uploads, limiter } = app;
    let mut streams = Vec::new();
    for _ in 0..PLACES {
        streams.push(begin(&connection, "/stream").await.unwrap());
    }
    assert_eq!(uploads.in_use(CLIENT).await.unwrap(), PLACES);
    drop((streams, connection));
    until("in use", 0, async || {
        for sender in &*seen.bodies.lock().unwrap() {
            let _ = sender.send("not read".into());
        }
        uploads.in_use(CLIENT).await.unwrap()
    })
    .await;
    let left = async || limiter.peek(CLIENT, "tokens").await.unwrap().remaining();
    until("left", LIMIT - 2 * PLACES, left).await;
    drop(server);
}

#[actix_web::test]
async fn a_handler_that_panics_resets_only_its_stream_and_releases_its_permit() {
    let app = Served::new().await;
    let mut beside = app.begin("/stream").await.unwrap();
    let error = app.begin("/panic").await.unwrap_err();
    assert!(!error.is_closed(), "{error}");
    app.until_in_use(1).await;
    app.send(0, "on");
    assert_eq!(next(&mut beside).await.unwrap(), "on");
    assert_eq!(app.status("/").await, 200);
}
