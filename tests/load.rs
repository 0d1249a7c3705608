//! A real server under concurrent load.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use ratethrottle::{Algorithm, Limiter, MemoryStorage, RateThrottleLayer, Rule};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_a_thousand_of_ten_thousand_concurrent_requests_are_allowed() {
    // Algorithms that free nothing before the end of the window.
    let algorithms =
        [Algorithm::SlidingWindowCounter, Algorithm::FixedWindow, Algorithm::SlidingWindowLog];
    for algorithm in algorithms {
        let answers = loop {
            let limiter = Limiter::new(MemoryStorage::new());
            let rule = Rule::per_minute("api", 1000).algorithm(algorithm);
            limiter.add_rule(rule).unwrap();
            let minute = || limiter.now().get() / 60_000_000;
            let begun = minute();
            let answers = load(&limiter).await;
            if minute() == begun {
                break answers;
            } // otherwise a window ended during the test
        };
        assert_eq!(answers, (1000, 9000), "{algorithm}");
    }
}

/// Sends ten thousand requests over two hundred concurrent connections, and counts the allowed and the rejected ones.
async fn load(limiter: &Limiter) -> (usize, usize) {
    const CONNECTIONS: usize = 200;
    const EACH: usize = 50;
    let layer = RateThrottleLayer::new(limiter);
    let app = Router::new().route("/", get(|| async { "hello" })).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });

    let clients: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(client(address, EACH))).collect();
    let (mut allowed, mut rejected) = (0, 0);
    for client in clients {
        let (ok, too_many) = client.await.unwrap();
        allowed += ok;
        rejected += too_many;
    }
    (allowed, rejected)
}

/// Sends requests over one connection, and counts the responses with 200 and 429.
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
