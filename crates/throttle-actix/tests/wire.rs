//! The table of HTTP cases over real sockets, by HTTP/1.1 and by HTTP/2.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../throttle-tower/tests/common/client.rs"]
mod client;
mod common;

use std::{pin::Pin, rc::Rc};

use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse},
    test::init_service,
    web,
};
use bytes::Bytes;
use http::{Method, Request, Response, Version};
use throttle_actix::RateThrottle;
use throttle_core::{Limiter, Rule};
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{answers, handler, nested_answers, run, run_nested};

use self::client::PEER;
use common::{Later, Runtime, Server, call, field, to_actix_response};

type Answer = Pin<Box<dyn Future<Output = Response<Bytes>>>>;

/// Is a server on a socket, and what it serves.
struct Served {
    version: Version,
    server: Server,
    app: Box<dyn Fn(Request<Bytes>) -> Answer>,
}

impl Served {
    async fn new<T, B>(
        version: Version,
        factory: impl Fn() -> App<T> + Send + Clone + 'static,
    ) -> Self
    where
        T: ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse<B>,
                Error = Error,
                InitError = (),
            > + 'static,
        B: MessageBody + 'static,
    {
        let app = Rc::new(init_service(factory()).await);
        let app = Box::new(move |request| -> Answer {
            let app = app.clone();
            Box::pin(async move { call(&*app, request).await })
        });
        let runtime = match version {
            Version::HTTP_2 => Runtime::SystemOfHttp2,
            _ => Runtime::System,
        };
        Self { version, server: Server::start(runtime, 1, 1, factory), app }
    }

    async fn of_one(version: Version, options: Options, limiter: Limiter) -> Self {
        let throttle = throttle(options, limiter);
        let factory = move || {
            let app = App::new()
                .wrap(throttle.clone())
                .wrap_fn(|request, next| next.call(from_peer(request)));
            app.default_service(web::to(respond))
        };
        Self::new(version, factory).await
    }

    async fn of_two(version: Version, outer: Options, inner: Options, limiter: Limiter) -> Self {
        let (inner, outer) = (throttle(inner, limiter.clone()), throttle(outer, limiter));
        let factory = move || {
            let app = App::new().wrap(inner.clone()).wrap(outer.clone());
            let app = app.wrap_fn(|request, next| next.call(from_peer(request)));
            app.default_service(web::to(respond))
        };
        Self::new(version, factory).await
    }

    async fn ask(&self, request: Request<Bytes>) -> Response<Bytes> {
        match client::can_be_sent(self.version, &request) {
            true => client::send(self.version, self.server.addresses[0], request).await,
            false => (self.app)(client::with_peer(request)).await,
        }
    }
}

fn throttle(options: Options, limiter: Limiter) -> RateThrottle {
    RateThrottle::from_options(limiter, options).build().unwrap()
}

/// Lets a request come from where it says.
fn from_peer(mut request: ServiceRequest) -> ServiceRequest {
    let peer = request.headers_mut().remove(PEER).next();
    request.head_mut().peer_addr = peer.map(|peer| peer.to_str().unwrap().parse().unwrap());
    request
}

async fn respond() -> HttpResponse {
    to_actix_response(handler())
}

async fn answers_as_the_table_says(version: Version) {
    let one = async |options, limiter| Served::of_one(version, options, limiter).await;
    let two = async |outer, inner, limiter| Served::of_two(version, outer, inner, limiter).await;
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

#[actix_web::test]
async fn over_http_2_a_refusal_of_head_has_a_length_and_no_body() {
    for later in [false, true] {
        let limiter = match later {
            false => Limiter::new(MemoryStorage::new()),
            true => Limiter::new(Later::default()),
        };
        limiter.add_rule(Rule::per_day("api", 1)).unwrap();
        let served = Served::of_one(Version::HTTP_2, Options::new(), limiter).await;
        let head = || {
            let head = Request::builder().method(Method::HEAD).extension(common::PEER);
            head.body(Bytes::new()).unwrap()
        };
        assert_eq!(served.ask(head()).await.status(), 200);
        for _ in 0..10 {
            let refused = served.ask(head()).await;
            assert_eq!((refused.status().as_u16(), refused.body().len()), (429, 0));
            assert_eq!(field(&refused, "content-length"), "188");
        }
    }
}
