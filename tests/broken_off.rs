//! Ten thousand connections that are broken off in their requests, to an Axum server and one of Actix that
//! share places in Redis.

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
/// To each of the servers.
const AT_ONCE: usize = 100;
const LEASE: Duration = Duration::from_secs(1);

async fn places(redis: &Redis) -> (Limiter, ConcurrencyLimit) {
    let storage = RedisStorage::builder(&redis.url()).permit_lease(LEASE).connect().await;
    let limiter = Limiter::new(storage.expect("the server runs"));
    let places = limiter.concurrency("uploads", 2 * AT_ONCE as u64).expect("it is a limit");
    (limiter, places)
}

/// Counts those that are at work, and leaves that off when it is dropped.
struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_that_are_broken_off_leave_no_lease() {
    let redis = Redis::start();
    let at_work = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&at_work);
    let handler = move || {
        counted.fetch_add(1, SeqCst);
        let at_work = AtWork(Arc::clone(&counted));
        let never = async move {
            let _at_work = at_work;
            pending::<&'static str>().await
        };
        Box::pin(never) as std::pin::Pin<Box<dyn Future<Output = &'static str> + Send>>
    };
    let (one, of_one) = places(&redis).await;
    let (other, of_other) = places(&redis).await;
    let servers = [
        Server::axum_with(RateThrottleLayer::new(&one).concurrency(of_one), handler.clone()),
        Server::actix_with(RateThrottle::new(&other).concurrency(of_other), handler),
    ];
    let (_third, seen) = places(&redis).await;
    let in_use = async || seen.in_use(CLIENT).await.expect("Redis answers");

    for _ in 0..ROUNDS {
        let mut streams = Vec::new();
        for i in 0..2 * AT_ONCE {
            let mut stream = TcpStream::connect(servers[i % 2].address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
            streams.push(stream);
        }
        until("all are at work", async || at_work.load(SeqCst) == 2 * AT_ONCE).await;
        assert_eq!(in_use().await, 2 * AT_ONCE as u64);
        drop(streams);
        until("all places are free", async || in_use().await == 0).await;
        until("nobody is at work", async || at_work.load(SeqCst) == 0).await;
    }
    // What a server believes to hold it renews, again and again.
    sleep(LEASE).await;
    assert_eq!(in_use().await, 0);
    let keys = redis.command(&["KEYS", "*places*"]).to_string();
    assert!(!keys.contains("uploads"), "{keys}");
}
