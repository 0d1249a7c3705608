//! The conformance suite for every wrapper, over memory and over Redis.

mod common;

use common::{Behaviour, FaultyStorage};
use std::time::Duration;
use throttle_core::{Scope, Storage};
use throttle_memory::MemoryStorage;
use throttle_redis::RedisStorage;
use throttle_resilience::{
    CircuitBreaker, CircuitBreakerConfig, Deadline, Deadlines, DenialCache, FailureModes, Fallback,
    LeaseBudget, Leases, Resilience,
};
use throttle_testbed::Server;
use throttle_testkit::Suite;

async fn conforms<S: Storage>(scope: Scope, make: impl Fn() -> S) {
    let report = Suite::new(|| async { make() }).scope(scope).run().await;
    assert_eq!((report.vectors, report.decisions), (225, 8_940));
    assert!(report.checks > 80, "{report:?}");
}

/// Deadlines that a busy machine does not reach.
fn deadlines() -> Deadlines {
    let long = Duration::from_secs(20);
    Deadlines::of(long).refund(long).reset(long).operations(long)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadline_conforms() {
    conforms(Scope::Process, || Deadline::new(MemoryStorage::new(), deadlines())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_breaker_conforms() {
    conforms(Scope::Process, || {
        CircuitBreaker::new(MemoryStorage::new(), CircuitBreakerConfig::new())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fallback_conforms() {
    let modes = || FailureModes::local(MemoryStorage::new(), 3);
    conforms(Scope::Process, || Fallback::new(MemoryStorage::new(), modes())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_denial_cache_conforms() {
    conforms(Scope::Process, || DenialCache::new(MemoryStorage::new(), 1_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_small_denial_cache_conforms() {
    conforms(Scope::Process, || DenialCache::new(MemoryStorage::new(), 1)).await;
}

/// Leases a rule that the suite does not use: a leased rule is charged more strictly than the suite
/// expects.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_of_another_rule_conform() {
    let percent = LeaseBudget::percent(10);
    conforms(Scope::Process, || Leases::new(MemoryStorage::new(), 1).rule("x", percent).build())
        .await;
}

/// Uses more instances than permits may be leased, so every request calls the storage.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_with_too_many_instances_to_hold_permits_conform() {
    let leases = || {
        let leases = Leases::new(MemoryStorage::new(), u64::MAX);
        ["r", "narrow", "wide"]
            .into_iter()
            .fold(leases, |leases, name| leases.rule(name, LeaseBudget::percent(0.000_1)))
    };
    conforms(Scope::Process, || leases().build()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_wrappers_over_a_delayed_storage_conform() {
    let storage = FaultyStorage::new(Behaviour::Later(Duration::ZERO));
    conforms(Scope::Shared, || {
        let modes = FailureModes::local(MemoryStorage::new(), 3);
        Resilience::new(storage.clone())
            .deadline(deadlines())
            .failure_modes(modes)
            .denial_cache(1_000)
            .lease("x", LeaseBudget::percent(5))
            .build()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_denial_cache_over_redis_conforms() {
    let server = Server::start();
    let redis = RedisStorage::builder(&server.url()).response_timeout(Duration::from_secs(20));
    let redis = redis.connect().await.unwrap();
    conforms(Scope::Shared, || DenialCache::new(redis.clone(), 1_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_wrappers_over_redis_conform() {
    let server = Server::start();
    let redis = RedisStorage::builder(&server.url()).response_timeout(Duration::from_secs(20));
    let redis = redis.connect().await.unwrap();
    conforms(Scope::Shared, || {
        let modes = FailureModes::local(MemoryStorage::new(), 3);
        Resilience::new(redis.clone())
            .deadline(deadlines())
            .failure_modes(modes)
            .denial_cache(1_000)
            .build()
    })
    .await;
}
