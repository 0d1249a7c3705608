//! Ten times the load that Redis can serve. Memory stays constant, and every request is decided by
//! its failure mode within the deadline. With the breaker, and without it, so that the queues are
//! tested as well.

#![cfg(target_os = "linux")]

mod common;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use common::{Tally, fixed, limiter, until};
use throttle_core::Limiter;
use throttle_memory::MemoryStorage;
use throttle_redis::RedisStorage;
use throttle_resilience::{Deadline, FailureModes, Fallback, Resilience};
use throttle_testbed::{Faults, Proxy, Server};

const DEADLINE: Duration = Duration::from_millis(100);
/// The extra time that a busy machine may take.
const GRACE: Duration = Duration::from_millis(400);
/// A call with one rule takes about 250 bytes.
const BYTES_PER_SECOND: u32 = 100_000;
/// The requests per five milliseconds: ten times the number that Redis can serve.
const AT_ONCE: u64 = 20;
const LASTS: Duration = Duration::from_secs(8);
/// The limit, of which this instance's local share is a third.
const LIMIT: u64 = 300;

async fn endure(what: &str, limiter: Limiter, proxy: &Proxy, check: impl Fn(&Tally)) {
    proxy.set(Faults { bytes_per_second: Some(BYTES_PER_SECOND), ..Faults::default() }).await;
    let (tally, in_flight) = (Arc::new(Tally::default()), Arc::new(AtomicU64::new(0)));
    let (mut early, mut most) = (0, 0);
    let (began, mut number) = (Instant::now(), 0_u64);
    let mut every = tokio::time::interval(Duration::from_millis(5));
    while began.elapsed() < LASTS {
        every.tick().await;
        for _ in 0..AT_ONCE {
            number += 1;
            let (limiter, tally) = (limiter.clone(), Arc::clone(&tally));
            let (in_flight, key) = (Arc::clone(&in_flight), format!("client {}", number % 100));
            in_flight.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let began = Instant::now();
                tally.note(began, &limiter.check(key, "r").await);
                in_flight.fetch_sub(1, Relaxed);
            });
        }
        most = most.max(in_flight.load(Relaxed));
        if began.elapsed() < LASTS / 4 {
            early = early.max(resident());
        }
    }
    let grown = resident().saturating_sub(early);
    proxy.heal().await;
    until("every request to be answered", 2 * DEADLINE + GRACE, async || {
        in_flight.load(Relaxed) == 0
    })
    .await;
    println!("{}; {most} in flight, {} KiB more", tally.line(what), grown >> 10);
    let p999 = tally.within(999);
    assert!(p999 < DEADLINE + GRACE, "{what}: {p999:?}");
    // The tally takes 16 bytes per request.
    assert!(grown < 8 << 20, "{what}: {} KiB more than after a quarter of the time", grown >> 10);
    check(&tally);
    let took = until("Redis to decide again", Duration::from_secs(5), || async {
        limiter.check("another", "r").await.is_ok_and(|decision| !decision.is_degraded())
    });
    println!("{what}: by Redis again after {:?}", took.await);
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has this file");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number counts pages") * 4_096
}

async fn redis(proxy: &Proxy) -> RedisStorage {
    RedisStorage::connect(&format!("redis://{}", proxy.address())).await.expect("Redis runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_breaker_few_requests_reach_redis_and_the_rest_is_decided_locally() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let storage = Resilience::new(redis(&proxy).await)
        .deadline(DEADLINE)
        .failure_modes(FailureModes::local(MemoryStorage::new(), 3))
        .build();
    let limiter = limiter(storage, [fixed("r", LIMIT)]);
    endure("breaker, local", limiter, &proxy, |tally| {
        assert_eq!(tally.failed.load(Relaxed), 0);
        assert!(tally.degraded.load(Relaxed) > 10_000);
        let most = 100 * (LIMIT + LIMIT / 3);
        assert!(tally.allowed.load(Relaxed) <= most);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_breaker_the_queue_is_bounded_and_the_rest_is_rejected_in_time() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let storage =
        Fallback::new(Deadline::new(redis(&proxy).await, DEADLINE), FailureModes::fail_closed());
    let limiter = limiter(storage, [fixed("r", LIMIT)]);
    endure("no breaker, closed", limiter, &proxy, |tally| {
        assert!(tally.failed.load(Relaxed) > 10_000);
        assert_eq!(tally.degraded.load(Relaxed), 0);
    })
    .await;
}
