//! An axum server on a real socket, and its responses byte for byte.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::net::SocketAddr;

use axum::{Router, routing::get as on_get};
use throttle_core::Rule;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use common::limiter;

const ALLOWED: &str = "HTTP/1.1 200 OK
content-type: text/plain; charset=utf-8
ratelimit-policy: \"api\";q=1;w=60
ratelimit: \"api\";r=0;t=60
content-length: 5
";
const REJECTED: &str = "HTTP/1.1 429 Too Many Requests
content-type: application/problem+json
ratelimit-policy: \"api\";q=1;w=60
ratelimit: \"api\";r=0;t=60
retry-after: 60
cache-control: no-store
content-length: 188
";
const BODY: &str = r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"violated-policies":["api"]}"#;

/// Serves `hello` behind the layer until the test ends.
async fn serve(layer: RateThrottleLayer, with_connect_info: bool) -> SocketAddr {
    let router = Router::new().route("/", on_get(|| async { "hello" })).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let informed = router.clone().into_make_service_with_connect_info::<SocketAddr>();
        match with_connect_info {
            true => axum::serve(listener, informed).await,
            false => axum::serve(listener, router).await,
        }
    });
    address
}

async fn serve_one() -> SocketAddr {
    serve(RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)), true).await
}

/// Returns the layer of the first program in the guide.
fn guide() -> RateThrottleLayer {
    RateThrottleLayer::new(Rule::per_day("api", 1))
}

/// Sends a request, and returns the head of its response without `date`, and the body.
async fn ask(address: SocketAddr, method: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let is_varying = |line: &&str| line.starts_with("date:") || line.starts_with("connection:");
    let head: String =
        head.lines().filter(|line| !is_varying(line)).map(|line| format!("{line}\n")).collect();
    (head, body.to_owned())
}

#[tokio::test]
async fn an_allowed_and_a_rejected_response_are_correct_byte_for_byte() {
    let address = serve_one().await;
    assert_eq!(ask(address, "GET").await, (ALLOWED.to_owned(), "hello".to_owned()));
    assert_eq!(ask(address, "GET").await, (REJECTED.to_owned(), BODY.to_owned()));
}

#[tokio::test]
async fn responses_to_head_have_the_length_of_their_body_but_no_body() {
    let address = serve_one().await;
    assert_eq!(ask(address, "HEAD").await, (ALLOWED.to_owned(), String::new()));
    assert_eq!(ask(address, "HEAD").await, (REJECTED.to_owned(), String::new()));
    assert_eq!(ask(address, "GET").await, (REJECTED.to_owned(), BODY.to_owned()));
}

#[tokio::test]
async fn an_axum_server_with_connect_info_limits_by_the_address() {
    let address = serve(guide(), true).await;
    assert_eq!(ask(address, "GET").await.1, "hello");
    let (head, body) = ask(address, "GET").await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    assert_eq!(body, BODY);
}

#[tokio::test]
async fn an_axum_server_without_connect_info_answers_500() {
    let address = serve(guide(), false).await;
    for _ in 0..2 {
        let (head, _) = ask(address, "GET").await;
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    }
}
