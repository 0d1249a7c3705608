//! Ten times the load that Redis can serve: memory stays flat, and what is too much gets the mode's answer
//! within the deadline. With the breaker, and without it, so that the queues are put to the test as well.

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
/// What a busy machine may take on top.
const GRACE: Duration = Duration::from_millis(400);
/// A call of one rule takes some 250 bytes.
const BYTES_PER_SECOND: u32 = 100_000;
/// So many requests come every five milliseconds: ten times what passes.
const AT_ONCE: u64 = 20;
const LASTS: Duration = Duration::from_secs(8);
/// The server's share of three of these is what passes locally.
const LIMIT: u64 = 300;

async fn endure(what: &str, limiter: Limiter, proxy: &Proxy, check: impl Fn(&Tally)) {
    proxy.set(Faults { bytes_per_second: Some(BYTES_PER_SECOND), ..Faults::default() }).await;
    let (tally, under_way) = (Arc::new(Tally::default()), Arc::new(AtomicU64::new(0)));
    let (mut early, mut most) = (0, 0);
    let (began, mut number) = (Instant::now(), 0_u64);
    let mut every = tokio::time::interval(Duration::from_millis(5));
    while began.elapsed() < LASTS {
        every.tick().await;
        for _ in 0..AT_ONCE {
            number += 1;
            let (limiter, tally) = (limiter.clone(), Arc::clone(&tally));
            let (under_way, key) = (Arc::clone(&under_way), format!("client {}", number % 100));
            under_way.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let began = Instant::now();
                tally.note(began, &limiter.check(key, "r").await);
                under_way.fetch_sub(1, Relaxed);
            });
        }
        most = most.max(under_way.load(Relaxed));
        if began.elapsed() < LASTS / 4 {
            early = early.max(resident());
        }
    }
    let grown = resident().saturating_sub(early);
    proxy.heal().await;
    until("every request to be answered", 2 * DEADLINE + GRACE, async || {
        under_way.load(Relaxed) == 0
    })
    .await;
    println!("{}; {most} at once, {} KiB more", tally.line(what), grown >> 10);
    let p999 = tally.within(999);
    assert!(p999 < DEADLINE + GRACE, "{what}: {p999:?}");
    // The tally itself takes 16 bytes for each request.
    assert!(grown < 8 << 20, "{what}: {} KiB more than after a quarter of the time", grown >> 10);
    check(&tally);
    let took = until("Redis to decide again", Duration::from_secs(5), || async {
        limiter.check("another", "r").await.is_ok_and(|decision| !decision.is_degraded())
    });
    println!("{what}: by Redis again after {:?}", took.await);
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number counts pages") * 4_096
}

async fn redis(proxy: &Proxy) -> RedisStorage {
    RedisStorage::connect(&format!("redis://{}", proxy.address())).await.expect("Redis runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_breaker_a_few_reach_redis_and_the_rest_is_decided_locally() {
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
        assert!(tally.admitted.load(Relaxed) <= most);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_breaker_what_waits_is_bounded_and_the_rest_is_refused_in_time() {
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
