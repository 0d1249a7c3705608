//! Helpers of several test files.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of the helpers, and a test may panic"
)]

pub(crate) mod fake_server;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{Algorithm, Limiter, Rule};
use throttle_redis::RedisStorage;
use throttle_testbed::{Cluster, Sentinels, Server};

/// Returns a token bucket whose window is longer than a test.
pub(crate) fn rule(name: &str, limit: u64) -> Rule {
    Rule::per_hour(name, limit).algorithm(Algorithm::TokenBucket)
}

/// Returns a fixed window, which does not refill while a test runs.
pub(crate) fn fixed(name: &str, limit: u64) -> Rule {
    Rule::per_day(name, limit).algorithm(Algorithm::FixedWindow)
}

pub(crate) async fn standalone(server: &Server) -> RedisStorage {
    RedisStorage::connect(&server.url()).await.expect("the server runs")
}

pub(crate) async fn sentinel(sentinels: &Sentinels) -> RedisStorage {
    RedisStorage::sentinel(sentinels.sentinel_addresses(), sentinels.master_name())
        .connect()
        .await
        .expect("the sentinels know a master")
}

pub(crate) async fn cluster(cluster: &Cluster) -> RedisStorage {
    RedisStorage::cluster(cluster.urls()).connect().await.expect("the cluster is up")
}

pub(crate) fn limiter(storage: &RedisStorage, rules: impl IntoIterator<Item = Rule>) -> Limiter {
    let limiter = Limiter::new(storage.clone());
    for rule in rules {
        limiter.add_rule(rule).expect("the rule is valid");
    }
    limiter
}

/// The results of many requests.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) allowed: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// The longest time that one request took, in microseconds.
    pub(crate) longest: AtomicU64,
    /// The number of times that each error occurred.
    errors: Mutex<BTreeMap<String, usize>>,
}

impl Tally {
    pub(crate) fn allowed(&self) -> u64 {
        self.allowed.load(Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Returns the texts of the errors, with the number of times that each occurred.
    pub(crate) fn errors(&self) -> BTreeMap<String, usize> {
        self.errors.lock().unwrap().clone()
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.load(Relaxed))
    }

    pub(crate) async fn ask(
        &self,
        limiter: &Limiter,
        key: &str,
        rules: &[&str],
    ) -> Result<bool, String> {
        let began = Instant::now();
        let answer = limiter.check_all(key, rules).await;
        let took = u64::try_from(began.elapsed().as_micros()).expect("a test is short");
        self.longest.fetch_max(took, Relaxed);
        match answer {
            Ok(decisions) => {
                let allowed = decisions.is_allowed();
                if allowed { &self.allowed } else { &self.denied }.fetch_add(1, Relaxed);
                Ok(allowed)
            }
            Err(error) => {
                self.failed.fetch_add(1, Relaxed);
                *self.errors.lock().unwrap().entry(error.to_string()).or_default() += 1;
                Err(error.to_string())
            }
        }
    }
}

/// Sends `requests` from each of `tasks` tasks, and returns the results.
pub(crate) async fn storm(
    limiter: &Limiter,
    key: &str,
    rules: &'static [&'static str],
    tasks: usize,
    requests: usize,
) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let mut handles = Vec::new();
    for _ in 0..tasks {
        let (limiter, key, tally) = (limiter.clone(), key.to_owned(), Arc::clone(&tally));
        handles.push(tokio::spawn(async move {
            for _ in 0..requests {
                let _ = tally.ask(&limiter, &key, rules).await;
            }
        }));
    }
    for handle in handles {
        handle.await.expect("no task panics");
    }
    tally
}

/// Sends requests until one is answered, and returns the time that it took.
pub(crate) async fn until_answered(
    limiter: &Limiter,
    key: &str,
    rule: &str,
    most: Duration,
) -> Duration {
    let began = Instant::now();
    loop {
        match limiter.check(key, rule).await {
            Ok(_) => return began.elapsed(),
            Err(error) if began.elapsed() > most => panic!("after {most:?} still: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
