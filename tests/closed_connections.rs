//! Ten thousand connections that are closed during their requests, to an Axum and an Actix server that share
//! permits in Redis.

use std::{
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use ratethrottle::{
    Limiter, RateThrottle, RateThrottleLayer, RedisStorage, concurrency::ConcurrencyLimit,
};
use throttle_testbed::Server as Redis;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

use crate::servers::Server;

const CLIENT: &str = "127.0.0.1";
const ROUNDS: usize = 50;
/// The number of concurrent connections to each server.
const AT_ONCE: usize = 100;
const LEASE: Duration = Duration::from_secs(1);

async fn permits(redis: &Redis) -> (Limiter, ConcurrencyLimit) {
    let storage = RedisStorage::builder(&redis.url()).permit_lease(LEASE).connect().await;
    let limiter = Limiter::new(storage.expect("the server runs"));
    let permits = limiter.concurrency("uploads", 2 * AT_ONCE as u64).expect("the limit is valid");
    (limiter, permits)
}

/// A running handler; it is no longer counted when it is dropped.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(20), "not reached after 20 seconds: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_closed_connections_leave_no_lease() {
    let redis = Redis::start();
    let running = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&running);
    let handler = move || {
        counted.fetch_add(1, SeqCst);
        let running = Running(Arc::clone(&counted));
        let never = async move {
            let _running = running;
            pending::<&'static str>().await
        };
        Box::pin(never) as std::pin::Pin<Box<dyn Future<Output = &'static str> + Send>>
    };
    let (one, of_one) = permits(&redis).await;
    let (other, of_other) = permits(&redis).await;
    let servers = [
        Server::axum_with(RateThrottleLayer::new(&one).concurrency(of_one), handler.clone()),
        Server::actix_with(RateThrottle::new(&other).concurrency(of_other), handler),
    ];
    let (_third, seen) = permits(&redis).await;
    let in_use = async || seen.in_use(CLIENT).await.expect("Redis answers");

    for _ in 0..ROUNDS {
        let mut streams = Vec::new();
        for i in 0..2 * AT_ONCE {
            let mut stream = TcpStream::connect(servers[i % 2].address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
            streams.push(stream);
        }
        until("all handlers run", async || running.load(SeqCst) == 2 * AT_ONCE).await;
        assert_eq!(in_use().await, 2 * AT_ONCE as u64);
        drop(streams);
        until("all permits are released", async || in_use().await == 0).await;
        until("no handler runs", async || running.load(SeqCst) == 0).await;
    }
    // A server would renew a permit that it still considers held.
    sleep(LEASE).await;
    assert_eq!(in_use().await, 0);
    let keys = redis.command(&["KEYS", "*permits*"]).to_string();
    assert!(!keys.contains("uploads"), "{keys}");
}
