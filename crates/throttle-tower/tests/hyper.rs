//! A real server on a real socket, and a client that reads what stands on the wire.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{convert::Infallible, net::SocketAddr};

use axum::{Router, routing::get as on_get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, server::conn::http1, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use throttle_core::Rule;
use throttle_http::identity::Header;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{ServiceBuilder, service_fn};

use common::limiter;

enum Version {
    Http1,
    Http2,
}

/// Serves `hello` behind the layer until the test ends.
async fn serve(version: Version, layer: RateThrottleLayer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let service = ServiceBuilder::new()
                .map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(peer);
                    request
                })
                .layer(layer.clone())
                .service(service_fn(|_| async {
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
                }));
            let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(service));
            match version {
                Version::Http1 => {
                    tokio::spawn(http1::Builder::new().serve_connection(io, service));
                }
                Version::Http2 => {
                    let server = http2::Builder::new(TokioExecutor::new());
                    tokio::spawn(server.serve_connection(io, service));
                }
            }
        }
    });
    address
}

async fn serve_limit(limit: u64) -> SocketAddr {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), limit));
    serve(Version::Http1, layer.build().unwrap()).await
}

/// A connection on which requests are written as bytes.
struct Wire(TcpStream);

impl Wire {
    async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn write(&mut self, request: impl AsRef<[u8]>) {
        self.0.write_all(request.as_ref()).await.unwrap();
    }

    /// Reads one response: its head without `date`, and as many bytes of a body as it promises.
    async fn read(&mut self, has_body: bool) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("a response"));
        }
        let head = String::from_utf8(head).unwrap();
        let lines = head.lines().filter(|line| !line.starts_with("date:"));
        let head = lines.collect::<Vec<_>>().join("\n");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.0.read_exact(&mut body).await.expect("the whole body");
        (head, String::from_utf8(body).unwrap())
    }

    async fn ask(&mut self, head: &str) -> (String, String) {
        self.write(format!("{head}\r\nhost: localhost\r\n\r\n")).await;
        self.read(!head.starts_with("HEAD")).await
    }
}

const PASSED: &str = "HTTP/1.1 200 OK
ratelimit-policy: \"api\";q=1;w=60
ratelimit: \"api\";r=0;t=60
content-length: 5
";
const REFUSED: &str = "HTTP/1.1 429 Too Many Requests
content-type: application/problem+json
ratelimit-policy: \"api\";q=1;w=60
ratelimit: \"api\";r=0;t=60
retry-after: 60
content-length: 188
";
const BODY: &str = r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"violated-policies":["api"]}"#;

#[tokio::test]
async fn a_pass_and_a_refusal_stand_on_the_wire_byte_for_byte() {
    let mut wire = Wire::to(serve_limit(1).await).await;
    assert_eq!(wire.ask("GET / HTTP/1.1").await, (PASSED.to_owned(), "hello".to_owned()));
    assert_eq!(wire.ask("GET / HTTP/1.1").await, (REFUSED.to_owned(), BODY.to_owned()));
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_and_another_connection_changes_nothing() {
    let address = serve_limit(1).await;
    let mut wire = Wire::to(address).await;
    assert_eq!(wire.ask("GET / HTTP/1.1").await.0, PASSED);
    for _ in 0..3 {
        assert_eq!(wire.ask("GET / HTTP/1.1").await.1, BODY);
    }
    assert_eq!(Wire::to(address).await.ask("GET / HTTP/1.1").await.1, BODY);
}

#[tokio::test]
async fn a_refusal_of_head_has_the_length_of_its_body_but_no_body() {
    let mut wire = Wire::to(serve_limit(1).await).await;
    assert_eq!(wire.ask("HEAD / HTTP/1.1").await, (PASSED.to_owned(), String::new()));
    assert_eq!(wire.ask("HEAD / HTTP/1.1").await, (REFUSED.to_owned(), String::new()));
    assert_eq!(wire.ask("GET / HTTP/1.1").await, (REFUSED.to_owned(), BODY.to_owned()));
}

#[tokio::test]
async fn requests_in_one_packet_are_limited_one_by_one() {
    let mut wire = Wire::to(serve_limit(2).await).await;
    wire.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(3)).await;
    for status in ["200 OK", "200 OK", "429 Too Many Requests"] {
        let (head, _) = wire.read(true).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\n")), "{head}");
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_confuse_what_comes_after() {
    let address = serve_limit(1).await;
    let mut wire = Wire::to(address).await;
    wire.ask("GET / HTTP/1.1").await;
    wire.write("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 40\r\n\r\n").await;
    wire.write("GET /in-the-body HTTP/1.1\r\nhost: evil\r\n\r\n").await;
    assert_eq!(wire.read(true).await.1, BODY);
    let mut rest = String::new();
    let after = tokio::time::timeout(
        std::time::Duration::from_millis(200),
        wire.0.read_to_string(&mut rest),
    );
    let _ = after.await; // the server may close the connection or wait for the next request
    assert_eq!(rest, "", "one request, one response");
}

#[tokio::test]
async fn keys_are_the_bytes_of_the_wire_however_long() {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1));
    let layer = layer.key(Header::new("x-api-key")).build().unwrap();
    let mut wire = Wire::to(serve(Version::Http1, layer).await).await;
    let long = [b'k'; 64 * 1024];
    let keys: [&[u8]; 4] = [b"\xff\xfe", b"\xff\xfd", &long, &long[1..]];
    for status in ["200", "429"] {
        for key in keys {
            wire.write("GET / HTTP/1.1\r\nhost: localhost\r\nx-api-key: ").await;
            wire.write(key).await;
            wire.write("\r\n\r\n").await;
            let (head, _) = wire.read(true).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        }
    }
}

#[tokio::test]
async fn many_connections_at_once_share_the_limit_exactly() {
    let address = serve_limit(20).await;
    let asking: Vec<_> = (0..20).map(|_| tokio::spawn(passes_of_four(address))).collect();
    let mut passed = 0;
    for one in asking {
        passed += one.await.unwrap();
    }
    assert_eq!(passed, 20);
}

async fn passes_of_four(address: SocketAddr) -> usize {
    let mut wire = Wire::to(address).await;
    let mut passed = 0;
    for _ in 0..4 {
        passed += usize::from(wire.ask("GET / HTTP/1.1").await.1 == "hello");
    }
    passed
}

#[tokio::test]
async fn http_2_is_limited_alike() {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)).build().unwrap();
    let stream = TcpStream::connect(serve(Version::Http2, layer).await).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for (status, body) in [(StatusCode::OK, "hello"), (StatusCode::TOO_MANY_REQUESTS, BODY)] {
        let request = Request::get("http://localhost/").body(Empty::<Bytes>::new()).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(common::field(&response, "ratelimit"), r#""api";r=0;t=60"#);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    }
}

/// The first program of the guide.
fn guide() -> Router {
    Router::new()
        .route("/", on_get(|| async { "hello" }))
        .layer(RateThrottleLayer::new(Rule::per_day("api", 1)))
}

#[tokio::test]
async fn an_axum_server_with_connect_info_limits_by_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = guide().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    assert_eq!(Wire::to(address).await.ask("GET / HTTP/1.1").await.1, "hello");
    let (head, body) = Wire::to(address).await.ask("GET / HTTP/1.1").await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    assert_eq!(body, BODY);
}

#[tokio::test]
async fn an_axum_server_without_connect_info_answers_500() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, guide()).await });
    for _ in 0..2 {
        let (head, _) = Wire::to(address).await.ask("GET / HTTP/1.1").await;
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    }
}
