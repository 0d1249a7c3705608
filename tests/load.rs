//! A real server on loopback under concurrent load.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use ratethrottle::{Algorithm, RateThrottleLayer, Rule};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_concurrent_requests_exactly_a_thousand_pass() {
    const CONNECTIONS: usize = 200;
    const EACH: usize = 50;
    // A window that is longer than any run of this test: the count of admissions is exact.
    let rule = Rule::new("api", 1000, Duration::from_secs(86_400));
    let rule = rule.algorithm(Algorithm::SlidingWindowLog);
    let app =
        Router::new().route("/", get(|| async { "hello" })).layer(RateThrottleLayer::new(rule));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });

    let clients: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(client(address, EACH))).collect();
    let (mut passed, mut refused) = (0, 0);
    for client in clients {
        let (ok, too_many) = client.await.unwrap();
        passed += ok;
        refused += too_many;
    }
    assert_eq!((passed, refused), (1000, 9000));
}

/// Sends requests over one connection, and counts the answers 200 and 429.
async fn client(address: SocketAddr, requests: usize) -> (usize, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let all = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(requests - 1)
        + "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(all.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let count = |status| answers.matches(status).count();
    (count("HTTP/1.1 200 OK\r\n"), count("HTTP/1.1 429 Too Many Requests\r\n"))
}
