//! Thousands of closed connections.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::Version;
use throttle_core::{ConcurrencyLimit, Limiter, Rule};
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use crate::http::{
    adapter::{Adapter, Layer},
    handler::Handler,
};

const CLIENT: &str = "127.0.0.1";
const AT_ONCE: usize = 200;
const ROUNDS: usize = 10_000 / AT_ONCE;
/// The allowed growth after 8,000 connections: far less than a hundred bytes for each.
const MAX_BYTES: i64 = 500_000;

/// Checks that closed connections leak no permit and no memory, and that their requests are reconciled.
///
/// The function opens ten thousand HTTP/1.1 connections to a server of the adapter, and closes them before the
/// response or during its body.
///
/// `live_bytes` must return the number of bytes that the program has allocated and not freed, as a counting
/// allocator reports it. Use a separate test program.
///
/// # Panics
///
/// Panics if permits or memory leak, or if the adapter does not serve HTTP/1.1.
pub async fn break_connections<A: Adapter>(adapter: A, live_bytes: impl Fn() -> i64) {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("tokens", 1_000_000)).unwrap();
    let uploads = limiter.concurrency("uploads", AT_ONCE as u64).unwrap();
    let options = Options::new().rule("tokens").cost(10).charge_actual();
    let layer = Layer::new(&limiter, options.concurrency(uploads.clone()));
    let handler = Handler::default();
    let server = adapter.serve(Version::HTTP_11, &[layer], handler.clone()).await;
    let server =
        server.expect("this test needs an adapter that serves HTTP/1.1: implement Adapter::serve");

    for _ in 0..ROUNDS / 5 {
        round(server.address, &handler, &uploads).await; // makes the allocations that occur only once
    }
    let before = live_bytes();
    for _ in 0..ROUNDS - ROUNDS / 5 {
        round(server.address, &handler, &uploads).await;
    }
    let grown = live_bytes() - before;
    assert!(
        grown < MAX_BYTES,
        "8000 connections leaked {grown} bytes, expected less than {MAX_BYTES}"
    );
    let charged = 1_000_000 - limiter.peek(CLIENT, "tokens").await.unwrap().remaining();
    assert_eq!(
        charged,
        2 * 10_000,
        "each of 10000 requests must be reconciled to its actual cost of 2"
    );
}

/// Opens connections, sends a request on each, and closes all of them.
async fn round(address: SocketAddr, handler: &Handler, uploads: &ConcurrencyLimit) {
    let mut connections = Vec::new();
    for _ in 0..AT_ONCE / 2 {
        connections.push(ask(address, "cost=2 wait").await);
    }
    for _ in 0..AT_ONCE / 2 {
        let mut stream = ask(address, "cost=2 stream begun").await;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        connections.push(stream);
    }
    until("half of the handlers run", async || handler.at_work() == AT_ONCE / 2).await;
    assert_eq!(uploads.in_use(CLIENT).await.unwrap(), AT_ONCE as u64);
    drop(connections);
    until("all permits are released", async || uploads.in_use(CLIENT).await.unwrap() == 0).await;
    until("no handler runs", async || handler.at_work() == 0).await;
    handler.end();
}

async fn ask(address: SocketAddr, what: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: h\r\nx-do: {what}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn until(what: &str, reached: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !reached().await {
        assert!(began.elapsed() < Duration::from_secs(20), "not reached after 20 seconds: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}
