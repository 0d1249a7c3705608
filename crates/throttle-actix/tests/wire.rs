//! Real sockets: the table of HTTP cases by HTTP/1.1 and by HTTP/2, and streams of HTTP/2 that a client resets.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;
#[path = "../../throttle-tower/tests/common/send.rs"]
mod send;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::Condition,
    test::init_service,
    web,
};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use throttle_actix::RateThrottle;
use throttle_core::{Concurrency, Limiter};
use throttle_http::{ActualCost, Options};
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{answers, handler, nested_answers, run, run_nested};
use tokio::{net::TcpStream, time::sleep};

use common::{Chunks, Runtime, Sender, Server, call, field, limiter};
use send::{PEER, Sent, full, send};

/// Is a server on a socket, and what it serves.
struct Served {
    version: Version,
    server: Server,
    throttle: RateThrottle,
    outer: Option<RateThrottle>,
}

impl Served {
    fn new(version: Version, throttle: RateThrottle, outer: Option<RateThrottle>) -> Self {
        let (inner, around) = (throttle.clone(), outer.clone());
        let app = move || app(inner.clone(), around.clone());
        let server = Server::start(Runtime::System, 1, 1, app);
        Self { version, server, throttle, outer }
    }

    async fn ask(&self, request: Request<Bytes>) -> Response<Bytes> {
        match send(self.version, self.server.addresses[0], request).await {
            Ok(response) => response,
            Err(request) => self.ask_in_process(request).await,
        }
    }

    /// Hands the app what hyper would refuse or change.
    async fn ask_in_process(&self, mut request: Request<Bytes>) -> Response<Bytes> {
        if let Some(peer) = request.extensions_mut().remove::<SocketAddr>() {
            request.headers_mut().insert(PEER, peer.to_string().parse().unwrap());
        }
        let app = init_service(app(self.throttle.clone(), self.outer.clone())).await;
        call(&app, request).await
    }
}

fn throttle(options: Options, limiter: Limiter) -> RateThrottle {
    RateThrottle::from_options(limiter, options).build().unwrap()
}

fn app(
    throttle: RateThrottle,
    outer: Option<RateThrottle>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let around = Condition::new(outer.is_some(), outer.unwrap_or_else(|| throttle.clone()));
    App::new()
        .wrap(throttle)
        .wrap(around)
        .wrap_fn(|mut request, inner| {
            let peer = request.headers_mut().remove(PEER).next();
            request.head_mut().peer_addr = peer.map(|peer| peer.to_str().unwrap().parse().unwrap());
            inner.call(request)
        })
        .default_service(web::to(async || {
            let handler = handler();
            let content_type = handler.headers()["content-type"].to_str().unwrap().to_owned();
            HttpResponse::Ok().content_type(content_type).body(handler.into_body())
        }))
}

async fn answers_as_the_table_says(version: Version) {
    let one = async |options, limiter| Served::new(version, throttle(options, limiter), None);
    let two = async |outer, inner, limiter: Limiter| {
        let outer = throttle(outer, limiter.clone());
        Served::new(version, throttle(inner, limiter), Some(outer))
    };
    let ask = async |served: &Served, request| served.ask(request).await;
    assert_eq!(run(MemoryStorage::new, one, ask).await, answers());
    assert_eq!(run_nested(MemoryStorage::new, two, ask).await, nested_answers());
}

#[actix_web::test]
async fn http_1_answers_as_the_table_says() {
    answers_as_the_table_says(Version::HTTP_11).await;
}

#[actix_web::test]
async fn http_2_answers_as_the_table_says() {
    answers_as_the_table_says(Version::HTTP_2).await;
}

/// Holds the bodies that are being sent.
type Bodies = Arc<Mutex<Vec<Sender>>>;
type Client = hyper::client::conn::http2::SendRequest<Sent>;

async fn stream(cost: web::ReqData<ActualCost>, bodies: web::Data<Bodies>) -> HttpResponse {
    cost.set(3);
    let (sender, body) = Chunks::new();
    sender.send(Ok("begun".into())).unwrap();
    bodies.lock().unwrap().push(sender);
    HttpResponse::Ok().body(body)
}

async fn connect(address: SocketAddr) -> Client {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    client
}

async fn get(client: &mut Client) -> Response<hyper::body::Incoming> {
    let request = Request::get("http://localhost/").body(full(Bytes::new())).unwrap();
    client.send_request(request).await.unwrap()
}

async fn until_in_use(uploads: &Concurrency, expected: u64) {
    for _ in 0..500 {
        if uploads.in_use("127.0.0.1").await.unwrap() == expected {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{} are in use", uploads.in_use("127.0.0.1").await.unwrap());
}

#[actix_web::test]
async fn streams_of_one_connection_that_are_reset_give_their_places_back_and_are_settled() {
    let limiter = limiter(MemoryStorage::new(), 100);
    let uploads = limiter.concurrency("uploads", 2).unwrap();
    let throttle = RateThrottle::new(&limiter)
        .rule("api")
        .cost(10)
        .charge_actual()
        .concurrency(uploads.clone())
        .build()
        .unwrap();
    let bodies = Bodies::default();
    let data = web::Data::new(bodies.clone());
    let server = Server::start(Runtime::System, 1, 1, move || {
        App::new().app_data(data.clone()).wrap(throttle.clone()).default_service(web::to(stream))
    });
    let mut client = connect(server.addresses[0]).await;
    let left = async || limiter.peek("127.0.0.1", "api").await.unwrap().remaining();

    for round in 1..=3 {
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut response = get(&mut client).await;
            assert_eq!(
                (response.status(), response.version()),
                (http::StatusCode::OK, Version::HTTP_2)
            );
            assert!(response.body_mut().frame().await.unwrap().is_ok());
            open.push(response);
        }
        until_in_use(&uploads, 2).await;
        let refused = get(&mut client).await;
        assert_eq!(refused.status(), 429);
        assert_eq!(
            field(&refused, "ratelimit-policy"),
            r#""uploads";q=2;qu="concurrent-requests""#
        );
        assert_eq!(field(&refused, "content-type"), "application/problem+json");

        drop(open); // the streams are reset, and the connection goes on
        // Actix sees it when there is something to send.
        bodies.lock().unwrap().drain(..).for_each(|body| body.send(Ok("more".into())).unwrap());
        until_in_use(&uploads, 0).await;
        assert_eq!(left().await, 100 - 6 * round, "both paid what was known");
    }

    let (one, other) = (get(&mut client).await, get(&mut client).await);
    until_in_use(&uploads, 2).await;
    drop((client, one, other)); // and with it the connection
    bodies.lock().unwrap().drain(..).for_each(|body| body.send(Ok("more".into())).unwrap());
    until_in_use(&uploads, 0).await;
}
