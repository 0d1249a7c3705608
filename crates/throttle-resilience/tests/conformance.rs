//! Every wrapper is a storage like any other: the whole suite, over memory and over Redis.

mod common;

use common::{Behaviour, Moody};
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

/// Times that are not reached however busy the machine is.
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
async fn denials_at_hand_conform() {
    conforms(Scope::Process, || DenialCache::new(MemoryStorage::new(), 1_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn denials_in_a_table_of_few_places_conform() {
    conforms(Scope::Process, || DenialCache::new(MemoryStorage::new(), 1)).await;
}

/// What is leased counts by a rule that is tighter, and so not as the suite does; all else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_of_another_rule_conform() {
    let percent = LeaseBudget::percent(10);
    conforms(Scope::Process, || Leases::new(MemoryStorage::new(), 1).rule("x", percent).build())
        .await;
}

/// Of which the accuracy leaves no permit to be held, so that all are asked for one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_of_so_many_servers_that_none_can_hold_anything_conform_in_what_they_count() {
    let leases = || {
        let leases = Leases::new(MemoryStorage::new(), u64::MAX);
        ["r", "narrow", "wide"]
            .into_iter()
            .fold(leases, |leases, name| leases.rule(name, LeaseBudget::percent(0.000_1)))
    };
    conforms(Scope::Process, || leases().build()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_of_them_around_a_storage_that_answers_later_conform() {
    let storage = Moody::new(Behaviour::Later(Duration::ZERO));
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
async fn denials_at_hand_over_redis_conform() {
    let server = Server::start();
    let redis = RedisStorage::builder(&server.url()).response_timeout(Duration::from_secs(20));
    let redis = redis.connect().await.unwrap();
    conforms(Scope::Shared, || DenialCache::new(redis.clone(), 1_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_of_them_over_redis_conform() {
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
