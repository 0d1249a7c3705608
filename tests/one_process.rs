//! One limiter in one process, shared by a server of Axum and one of Actix.

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

/// What a program of two servers would keep.
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
async fn both_servers_together_admit_exactly_what_the_limit_says() {
    const LIMIT: u64 = 300;
    let program = Program::start(LIMIT);
    let asking: Vec<_> = (0..40)
        .map(|i| {
            let url = program.servers[i % 2].url();
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut passed = 0;
                for _ in 0..25 {
                    passed += u64::from(status(&client, &url).await == 200);
                }
                passed
            })
        })
        .collect();
    let mut passed = [0, 0];
    for (i, one) in asking.into_iter().enumerate() {
        passed[i % 2] += one.await.unwrap();
    }
    assert_eq!(passed[0] + passed[1], LIMIT);
    assert!(passed[0] > 0 && passed[1] > 0, "one server answered alone: {passed:?}");
    let metrics = program.limiter.metrics();
    assert_eq!((metrics.allowed, metrics.denied), (LIMIT, 1000 - LIMIT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn both_servers_together_hold_no_more_places_than_there_are() {
    let limiter = Arc::new(Limiter::new(MemoryStorage::new()));
    limiter.add_rule(Rule::per_day("api", 1_000)).unwrap();
    let places = limiter.concurrency("uploads", 3).unwrap();
    let (gate, within) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (gate, within) = (Arc::clone(&gate), Arc::clone(&within));
        move || {
            let (gate, within) = (Arc::clone(&gate), Arc::clone(&within));
            async move {
                within.fetch_add(1, SeqCst);
                gate.acquire().await.expect("nobody closes it").forget();
                "hello"
            }
        }
    };
    let servers = [
        Server::axum_with(layer_of(&limiter).concurrency(places.clone()), handler.clone()),
        Server::actix_with(throttle_of(&limiter).concurrency(places.clone()), handler),
    ];
    let asking: Vec<_> = (0..12)
        .map(|i| {
            let url = servers[i % 2].url();
            tokio::spawn(async move { status(&reqwest::Client::new(), &url).await })
        })
        .collect();
    until(|| limiter.metrics().denied == 9).await;
    until(|| within.load(SeqCst) == 3).await;
    assert_eq!(places.in_use("127.0.0.1").await.unwrap(), 3);
    gate.add_permits(3);
    let mut passed = 0;
    for one in asking {
        match one.await.unwrap() {
            200 => passed += 1,
            other => assert_eq!(other, 429),
        }
    }
    assert_eq!((passed, within.load(SeqCst)), (3, 3));
    // A client may have read the whole body before the server has dropped it.
    for _ in 0..500 {
        if places.in_use("127.0.0.1").await.unwrap() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a place is lost");
}

async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never is so");
}
