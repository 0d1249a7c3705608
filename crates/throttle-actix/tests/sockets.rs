//! Real connections that are broken off, by the thousand.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    alloc::System,
    future::pending,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, web};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use throttle_actix::RateThrottle;
use throttle_core::{Concurrency, Limiter, Rule};
use throttle_http::ActualCost;
use throttle_memory::MemoryStorage;

use common::{Chunks, Runtime, Sender, Server};

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

async fn wait(cost: web::ReqData<ActualCost>, seen: web::Data<Seen>) -> &'static str {
    cost.set(2);
    seen.at_work.fetch_add(1, SeqCst);
    let _at_work = AtWork(Arc::clone(&seen.at_work));
    pending().await
}

async fn stream(cost: web::ReqData<ActualCost>, seen: web::Data<Seen>) -> HttpResponse {
    cost.set(2);
    let (sender, body) = Chunks::new();
    sender.send(Ok("begun".into())).unwrap();
    seen.bodies.lock().unwrap().push(sender);
    HttpResponse::Ok().body(body)
}

fn until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        thread::yield_now();
    }
}

/// Asks a storage in memory, which answers at once.
fn in_use(uploads: &Concurrency) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(uploads.in_use(CLIENT)).unwrap()
}

/// Opens connections, sends a request on each, and breaks all off: before the response, or in its body.
fn round(address: SocketAddr, seen: &Seen, uploads: &Concurrency) {
    let ask = |path| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).unwrap();
        stream
    };
    let waiting: Vec<_> = (0..AT_ONCE / 2).map(|_| ask("/wait")).collect();
    let streaming: Vec<_> = (0..AT_ONCE / 2)
        .map(|_| {
            let mut stream = ask("/stream");
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
            stream
        })
        .collect();
    until("all are at work", || seen.at_work.load(SeqCst) == AT_ONCE / 2);
    assert_eq!(in_use(uploads), AT_ONCE as u64);
    drop((waiting, streaming));
    until("all places are back", || in_use(uploads) == 0);
    until("nobody is at work", || seen.at_work.load(SeqCst) == 0);
    seen.bodies.lock().unwrap().clear();
}

#[test]
fn ten_thousand_connections_that_are_broken_off_leave_no_place_and_no_memory() {
    const ROUNDS: usize = 10_000 / AT_ONCE;
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("tokens", 1_000_000)).unwrap();
    let uploads = limiter.concurrency("uploads", AT_ONCE as u64).unwrap();
    let throttle = RateThrottle::new(&limiter)
        .rule("tokens")
        .cost(10)
        .charge_actual()
        .concurrency(uploads.clone());
    let seen = Seen::default();
    let data = web::Data::new(seen.clone());
    let server = Server::start(Runtime::System, 2, 1, move || {
        let app = App::new().app_data(data.clone()).wrap(throttle.clone());
        app.route("/wait", web::get().to(wait)).route("/stream", web::get().to(stream))
    });

    for _ in 0..ROUNDS / 5 {
        round(server.addresses[0], &seen, &uploads); // what is made once is made
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..ROUNDS - ROUNDS / 5 {
        round(server.addresses[0], &seen, &uploads);
    }
    let change = region.change();
    let grown = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
    // 8,000 connections: far less than a hundred bytes for each.
    assert!(grown < 500_000, "{grown} bytes are left of {} connections", 8_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let left = runtime.block_on(limiter.peek(CLIENT, "tokens")).unwrap().remaining();
    assert_eq!(1_000_000 - left, 2 * 10_000, "each was settled");
}
