//! The table of HTTP cases over real sockets: plain hyper, by HTTP/1.1 and by HTTP/2.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "common/client.rs"]
mod client;
mod common;

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::server::conn as server;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use throttle_core::Limiter;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{answers, handler, nested_answers, run, run_nested};
use throttle_tower::RateThrottleLayer;
use tokio::{net::TcpListener, task::JoinSet};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

use self::client::{PEER, Sent, full};
use common::whole;

type Answered = UnsyncBoxBody<Bytes, Infallible>;
type Service = BoxCloneSyncService<Request<Sent>, Response<Answered>, Infallible>;

/// Is a server on a socket, and what it serves.
struct Served {
    version: Version,
    address: SocketAddr,
    service: Service,
    _tasks: JoinSet<()>,
}

impl Served {
    async fn new(version: Version, service: Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(version, listener, service.clone()));
        Self { version, address, service, _tasks: tasks }
    }

    async fn of_one(version: Version, options: Options, limiter: Limiter) -> Self {
        let service = ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(BodyExt::boxed_unsync))
            .layer(layer(options, limiter))
            .service_fn(answer);
        Self::new(version, BoxCloneSyncService::new(service)).await
    }

    async fn of_two(version: Version, outer: Options, inner: Options, limiter: Limiter) -> Self {
        let service = ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(BodyExt::boxed_unsync))
            .layer(layer(outer, limiter.clone()))
            .layer(layer(inner, limiter))
            .service_fn(answer);
        Self::new(version, BoxCloneSyncService::new(service)).await
    }

    async fn ask(&self, request: Request<Bytes>) -> Response<Bytes> {
        match client::can_be_sent(self.version, &request) {
            true => client::send(self.version, self.address, request).await,
            false => self.ask_in_process(request).await,
        }
    }

    /// Hands the service what hyper would refuse or change.
    async fn ask_in_process(&self, request: Request<Bytes>) -> Response<Bytes> {
        let Ok(response) = self.service.clone().oneshot(request.map(full)).await;
        whole(response).await
    }
}

fn layer(options: Options, limiter: Limiter) -> RateThrottleLayer {
    RateThrottleLayer::from_options(limiter, options).build().unwrap()
}

async fn answer(request: Request<Sent>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_head = request.method() == Method::HEAD;
    Ok(handler().map(|body| Full::new(if is_head { Bytes::new() } else { body })))
}

async fn serve(version: Version, listener: TcpListener, service: Service) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        let named = service_fn(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(BodyExt::boxed_unsync);
            if let Some(peer) = take_peer(request.headers_mut()) {
                request.extensions_mut().insert(peer);
            }
            service.clone().oneshot(request)
        });
        let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(named));
        if version == Version::HTTP_11 {
            tokio::spawn(server::http1::Builder::new().serve_connection(io, service));
            continue;
        }
        let mut server = server::http2::Builder::new(TokioExecutor::new());
        server.max_header_list_size(1 << 20); // some keys have 64 KiB
        tokio::spawn(server.serve_connection(io, service));
    }
}

fn take_peer(fields: &mut HeaderMap) -> Option<SocketAddr> {
    fields.remove(PEER).map(|peer| peer.to_str().unwrap().parse().unwrap())
}

async fn answers_as_the_table_says(version: Version) {
    let one = async |options, limiter| Served::of_one(version, options, limiter).await;
    let two = async |outer, inner, limiter| Served::of_two(version, outer, inner, limiter).await;
    let ask = async |served: &Served, request| served.ask(request).await;
    assert_eq!(run(MemoryStorage::new, one, ask).await, answers());
    assert_eq!(run_nested(MemoryStorage::new, two, ask).await, nested_answers());
}

#[tokio::test]
async fn http_1_answers_as_the_table_says() {
    answers_as_the_table_says(Version::HTTP_11).await;
}

#[tokio::test]
async fn http_2_answers_as_the_table_says() {
    answers_as_the_table_says(Version::HTTP_2).await;
}

#[tokio::test]
async fn over_http_2_a_refusal_of_head_has_a_length_and_no_body() {
    let rule = throttle_core::Rule::per_day("api", 1);
    for storage in [true, false] {
        let limiter = match storage {
            true => Limiter::new(MemoryStorage::new()),
            false => Limiter::new(common::Later::default()),
        };
        limiter.add_rule(rule.clone()).unwrap();
        let uploads = limiter.concurrency("uploads", 1).unwrap();
        let served = Served::of_one(Version::HTTP_2, Options::new(), limiter.clone()).await;
        let head = || Request::head("/").extension(common::PEER).body(Bytes::new()).unwrap();
        assert_eq!(served.ask(head()).await.status(), 200);
        for _ in 0..50 {
            let refused = served.ask(head()).await;
            assert_eq!((refused.status().as_u16(), refused.body().len()), (429, 0));
            assert_eq!(common::field(&refused, "content-length"), "188");
        }
        let followed = Options::new().concurrency(uploads.clone());
        let served = Served::of_one(Version::HTTP_2, followed, limiter).await;
        let _place = uploads.enter("192.0.2.1").await.unwrap();
        for _ in 0..50 {
            let refused = served.ask(head()).await;
            assert_eq!((refused.status().as_u16(), refused.body().len()), (429, 0));
        }
    }
}
