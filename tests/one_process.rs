//! An Axum and an Actix server in one process that share a limiter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use ratethrottle::{Algorithm, Limiter, MemoryStorage, RateThrottle, RateThrottleLayer, Rule};
use tokio::sync::Semaphore;

use crate::servers::Server;

/// A program with two servers.
struct Program {
    limiter: Arc<Limiter>,
    servers: [Server; 2],
}

impl Program {
    fn start(limit: u64) -> Self {
        let limiter = Arc::new(Limiter::new(MemoryStorage::new()));
        let rule = Rule::per_day("api", limit).algorithm(Algorithm::SlidingWindowLog);
        limiter.add_rule(rule).unwrap();
        let servers = [Server::axum(layer_of(&limiter)), Server::actix(throttle_of(&limiter))];
        Self { limiter, servers }
    }
}

fn layer_of(limiter: &Arc<Limiter>) -> RateThrottleLayer {
    RateThrottleLayer::new(limiter).rule("api")
}

fn throttle_of(limiter: &Arc<Limiter>) -> RateThrottle {
    RateThrottle::new(Arc::clone(limiter)).rule("api")
}

async fn status(client: &reqwest::Client, url: &str) -> u16 {
    client.get(url).send().await.expect("the server answers").status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn both_servers_share_the_limit_exactly() {
    const LIMIT: u64 = 300;
    let program = Program::start(LIMIT);
    let requests: Vec<_> = (0..40)
        .map(|i| {
            let url = program.servers[i % 2].url();
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut allowed = 0;
                for _ in 0..25 {
                    allowed += u64::from(status(&client, &url).await == 200);
                }
                allowed
            })
        })
        .collect();
    let mut allowed = [0, 0];
    for (i, one) in requests.into_iter().enumerate() {
        allowed[i % 2] += one.await.unwrap();
    }
    assert_eq!(allowed[0] + allowed[1], LIMIT);
    assert!(allowed[0] > 0 && allowed[1] > 0, "only one server allowed requests: {allowed:?}");
    let metrics = program.limiter.metrics();
    assert_eq!((metrics.allowed, metrics.denied), (LIMIT, 1000 - LIMIT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn both_servers_share_the_permits_exactly() {
    let limiter = Arc::new(Limiter::new(MemoryStorage::new()));
    limiter.add_rule(Rule::per_day("api", 1_000)).unwrap();
    let permits = limiter.concurrency("uploads", 3).unwrap();
    let (gate, running) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (gate, running) = (Arc::clone(&gate), Arc::clone(&running));
        move || {
            let (gate, running) = (Arc::clone(&gate), Arc::clone(&running));
            async move {
                running.fetch_add(1, SeqCst);
                gate.acquire().await.expect("the semaphore is not closed").forget();
                "hello"
            }
        }
    };
    let servers = [
        Server::axum_with(layer_of(&limiter).concurrency(permits.clone()), handler.clone()),
        Server::actix_with(throttle_of(&limiter).concurrency(permits.clone()), handler),
    ];
    let requests: Vec<_> = (0..12)
        .map(|i| {
            let url = servers[i % 2].url();
            tokio::spawn(async move { status(&reqwest::Client::new(), &url).await })
        })
        .collect();
    until(|| limiter.metrics().denied == 9).await;
    until(|| running.load(SeqCst) == 3).await;
    assert_eq!(permits.in_use("127.0.0.1").await.unwrap(), 3);
    gate.add_permits(3);
    let mut allowed = 0;
    for one in requests {
        match one.await.unwrap() {
            200 => allowed += 1,
            other => assert_eq!(other, 429),
        }
    }
    assert_eq!((allowed, running.load(SeqCst)), (3, 3));
    // A client may have read the whole body before the server drops it.
    for _ in 0..500 {
        if permits.in_use("127.0.0.1").await.unwrap() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a permit was not released");
}

async fn until(holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition does not hold after 10 seconds");
}
