//! Real connections that are broken off, by the thousand.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    alloc::System,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::{Extension, Router, body::Body, routing::get};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use throttle_core::{Concurrency, Limiter, Rule};
use throttle_http::ActualCost;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use common::{Chunks, Sender};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENT: &str = "127.0.0.1";
const AT_ONCE: usize = 200;

/// Counts the handlers that are at work, and the bodies that are being sent.
#[derive(Clone, Default)]
struct Seen {
    at_work: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<Sender>>>,
}

/// Is at work until it is dropped.
struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn serve(layer: RateThrottleLayer, seen: &Seen) -> SocketAddr {
    let (wait, stream) = (seen.clone(), seen.clone());
    let router = Router::new()
        .route(
            "/wait",
            get(async move |Extension(cost): Extension<ActualCost>| {
                cost.set(2);
                wait.at_work.fetch_add(1, SeqCst);
                let _at_work = AtWork(wait.at_work);
                pending::<()>().await
            }),
        )
        .route(
            "/stream",
            get(async move |Extension(cost): Extension<ActualCost>| {
                cost.set(2);
                let (sender, body) = Chunks::new();
                sender.send(Ok("begun".into())).unwrap();
                stream.bodies.lock().unwrap().push(sender);
                Body::new(body)
            }),
        )
        .layer(layer.build().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });
    address
}

async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !reached().await {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Opens connections, sends a request on each, and breaks all off: before the response, or in its body.
async fn round(address: SocketAddr, seen: &Seen, uploads: &Concurrency) {
    let mut waiting = Vec::new();
    for _ in 0..AT_ONCE / 2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        waiting.push(stream);
    }
    for _ in 0..AT_ONCE / 2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /stream HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        waiting.push(stream);
    }
    until("all are at work", async || seen.at_work.load(SeqCst) == AT_ONCE / 2).await;
    assert_eq!(uploads.in_use(CLIENT).await.unwrap(), AT_ONCE as u64);
    drop(waiting);
    until("all places are back", async || uploads.in_use(CLIENT).await.unwrap() == 0).await;
    assert_eq!(seen.at_work.load(SeqCst), 0);
    seen.bodies.lock().unwrap().clear();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_that_are_broken_off_leave_no_place_and_no_memory() {
    const ROUNDS: usize = 10_000 / AT_ONCE;
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("tokens", 1_000_000)).unwrap();
    let uploads = limiter.concurrency("uploads", AT_ONCE as u64).unwrap();
    let layer = RateThrottleLayer::new(&limiter)
        .rule("tokens")
        .cost(10)
        .charge_actual()
        .concurrency(uploads.clone());
    let seen = Seen::default();
    let address = serve(layer, &seen).await;

    for _ in 0..ROUNDS / 5 {
        round(address, &seen, &uploads).await; // what is made once is made
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..ROUNDS - ROUNDS / 5 {
        round(address, &seen, &uploads).await;
    }
    let change = region.change();
    let grown = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
    // 8,000 connections: far less than a hundred bytes for each.
    assert!(grown < 500_000, "{grown} bytes are left of {} connections", 8_000);
    let charged = 1_000_000 - limiter.peek(CLIENT, "tokens").await.unwrap().remaining();
    assert_eq!(charged, 2 * 10_000, "each was settled");
}
