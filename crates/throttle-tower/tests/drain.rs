//! Bodies of rejected requests over a socket: they are drained, and the response does not wait for it.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::net::SocketAddr;

use axum::{Router, routing::get};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use common::limiter;

const LENGTH: usize = 3 * 1024 * 1024;

/// Serves behind a layer whose limit is used up.
async fn serve(change: impl FnOnce(RateThrottleLayer) -> RateThrottleLayer) -> SocketAddr {
    let layer = change(RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)));
    let router = Router::new().route("/", get(|| async {})).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });
    assert_eq!(begin(address, "GET", "").await.1, "HTTP/1.1 200 OK");
    address
}

/// Sends the head of a request over a new connection, and returns the status line of the response.
async fn begin(address: SocketAddr, method: &str, fields: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let status = ask(&mut stream, method, fields).await;
    (stream, status)
}

/// Sends the head of a request without its body, and reads the response.
async fn ask(stream: &mut TcpStream, method: &str, fields: &str) -> String {
    let head = format!("{method} / HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.expect("a response"));
    }
    let head = String::from_utf8(read).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    head.lines().next().unwrap().to_owned()
}

fn with_length() -> String {
    format!("content-length: {LENGTH}\r\n")
}

const REJECTED: &str = "HTTP/1.1 429 Too Many Requests";

#[tokio::test]
async fn the_response_does_not_wait_for_the_body_and_the_connection_is_reused() {
    let address = serve(|layer| layer).await;
    for fields in [with_length(), "transfer-encoding: chunked\r\n".to_owned()] {
        let (mut stream, status) = begin(address, "POST", &fields).await;
        assert_eq!(status, REJECTED);
        let chunk = vec![b'x'; LENGTH];
        match fields.starts_with("content-length") {
            true => stream.write_all(&chunk).await.unwrap(),
            false => {
                stream.write_all(format!("{LENGTH:x}\r\n").as_bytes()).await.unwrap();
                stream.write_all(&chunk).await.unwrap();
                stream.write_all(b"\r\n0\r\n\r\n").await.unwrap();
            }
        }
        assert_eq!(ask(&mut stream, "GET", "").await, REJECTED, "{fields}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_bounds_is_not_read_any_more() {
    let bounds = [("bytes", 1024), ("no bytes", 0)];
    for (about, max_bytes) in bounds {
        let address = serve(|layer| layer.drain_rejected(max_bytes)).await;
        let (mut stream, status) = begin(address, "POST", &with_length()).await;
        assert_eq!(status, REJECTED);
        // Data that is sent before the connection is closed may be written without an error.
        let _ = stream.write_all(&vec![b'x'; LENGTH]).await;
        assert!(!matches!(stream.read(&mut [0; 1]).await, Ok(1..)), "{about}");
    }
}

#[tokio::test]
async fn a_client_that_sends_nothing_does_not_keep_its_connection() {
    let address = serve(|layer| layer).await;
    let (mut stream, status) = begin(address, "POST", &with_length()).await;
    assert_eq!(status, REJECTED);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_with_expect_receives_the_rejection_before_it_sends() {
    let address = serve(|layer| layer).await;
    let fields = with_length() + "expect: 100-continue\r\n";
    let (mut stream, status) = begin(address, "POST", &fields).await;
    assert_eq!(status, REJECTED, "not 100 Continue");
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}
