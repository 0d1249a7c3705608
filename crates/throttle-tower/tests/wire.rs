//! The table of HTTP cases over real sockets: plain hyper, by HTTP/1.1 and by HTTP/2.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST},
};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{client::conn as client, server::conn as server};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use throttle_core::Limiter;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{answers, handler, nested_answers, run, run_nested};
use throttle_tower::RateThrottleLayer;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

use common::whole;

/// In which field a request says where it comes from: all connections come from loopback.
const PEER: &str = "x-test-peer";

type Sent = UnsyncBoxBody<Bytes, hyper::Error>;
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
        let (mut head, body) = request.into_parts();
        let length = head.headers.get(CONTENT_LENGTH);
        let length = length.map(|length| length.to_str().unwrap().parse::<usize>());
        let is_changed_by_hyper =
            self.version == Version::HTTP_2 && head.headers.contains_key(CONNECTION);
        if is_changed_by_hyper || matches!(length, Some(Err(_))) {
            return self.ask_in_process(Request::from_parts(head, body)).await;
        }
        let may_have_body = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
        let sent = match length {
            Some(Ok(length)) if length != body.len() => Unsaid::Never.sent(),
            None if may_have_body && body.is_empty() => Unsaid::Nothing.sent(),
            _ => full(body),
        };
        if let Some(peer) = head.extensions.remove::<SocketAddr>() {
            head.headers.insert(PEER, peer.to_string().parse().unwrap());
        }
        let stream = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let response = match self.version {
            Version::HTTP_11 => {
                head.headers.entry(HOST).or_insert(HeaderValue::from_static("localhost"));
                let (mut sender, connection) = client::http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(Request::from_parts(head, sent)).await.unwrap()
            }
            _ => {
                head.uri = absolute(head.uri, head.headers.remove(HOST));
                let handshake = client::http2::handshake(TokioExecutor::new(), stream);
                let (mut sender, connection) = handshake.await.unwrap();
                tokio::spawn(connection);
                sender.send_request(Request::from_parts(head, sent)).await.unwrap()
            }
        };
        assert_eq!(response.version(), self.version);
        whole(response).await
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

/// In HTTP/2 the host stands in the target.
fn absolute(uri: Uri, host: Option<HeaderValue>) -> Uri {
    if uri.authority().is_some() {
        return uri;
    }
    let host = host.as_ref().map_or("localhost", |host| host.to_str().unwrap());
    format!("http://{host}{uri}").parse().unwrap()
}

fn full(body: Bytes) -> Sent {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// A body whose length is not known before its end.
enum Unsaid {
    Nothing,
    Never,
}

impl Unsaid {
    fn sent(self) -> Sent {
        self.boxed_unsync()
    }
}

impl Body for Unsaid {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match *self {
            Self::Nothing => Poll::Ready(None),
            Self::Never => Poll::Pending,
        }
    }
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
