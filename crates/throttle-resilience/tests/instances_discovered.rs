//! Instances that discover their number through the Redis that they share.

mod common;

use std::time::Duration;

use common::{Behaviour, FaultyStorage, count_allowed, fixed, limiter, until};
use throttle_core::{Limiter, Storage};
use throttle_memory::MemoryStorage;
use throttle_redis::RedisStorage;
use throttle_resilience::{FailureModes, Instances, LeaseBudget, Leases, Resilience, Resilient};
use throttle_testbed::{Connect, Faults, Proxy, Server};

const PERIOD: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(20);

async fn server_of(address: &str) -> (Limiter, Resilient) {
    let redis = RedisStorage::connect(&format!("redis://{address}")).await.expect("Redis runs");
    let modes = FailureModes::local(MemoryStorage::new(), Instances::discovered(1).every(PERIOD));
    let storage = Resilience::new(redis).failure_modes(modes).build();
    (limiter(storage.clone(), [fixed("r", 99)]), storage)
}

fn known(servers: &[(Limiter, Resilient)]) -> Vec<u64> {
    servers.iter().map(|(_, storage)| storage.stats().fallback.instances).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_limiters_over_one_redis_discover_each_other_and_notice_when_one_ends() {
    let redis = Server::start();
    let proxy = Proxy::start(redis.address()).await;
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(server_of(&proxy.address()).await);
        // Discovery begins with the first request of any kind.
        servers.last().unwrap().0.check("client", "r").await.unwrap();
    }
    until("each to discover three", TIMEOUT, || async { known(&servers) == [3, 3, 3] }).await;

    // Redis is down for longer than the counts live: the last known number is used, and at most the
    // limit is allowed.
    proxy.set(Faults { connect: Connect::Refuse, reset: true, ..Faults::default() }).await;
    tokio::time::sleep(4 * PERIOD).await;
    assert_eq!(known(&servers), [3, 3, 3]);
    let mut allowed = 0;
    for (limiter, _) in &servers {
        allowed += count_allowed(limiter, "k", "r", 200).await;
    }
    assert_eq!(allowed, 99);

    // It returns without its data: no instance lowers its number because of that.
    redis.command(&["FLUSHALL"]);
    proxy.heal().await;
    let mut seen = Vec::new();
    until("Redis to decide", TIMEOUT, || async {
        servers[0].0.check("client", "r").await.is_ok_and(|decision| !decision.is_degraded())
    })
    .await;
    for _ in 0..20 {
        seen.push(known(&servers));
        tokio::time::sleep(PERIOD / 5).await;
    }
    assert!(seen.iter().flatten().all(|count| *count >= 3), "{seen:?}");

    drop(servers.pop());
    until("the others to notice that it has ended", TIMEOUT, || async {
        known(&servers) == [2, 2]
    })
    .await;
    servers.push(server_of(&proxy.address()).await);
    servers[2].0.check("client", "r").await.unwrap();
    until("a new one to be discovered", TIMEOUT, || async { known(&servers) == [3, 3, 3] }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_use_the_discovered_number() {
    let memory = MemoryStorage::new();
    let servers: Vec<_> = (0..4)
        .map(|_| {
            let discovered = Instances::discovered(1).every(PERIOD);
            let leases = Leases::new(memory.clone(), discovered.clone());
            let leases = leases.rule("r", LeaseBudget::percent(10)).build();
            (discovered, limiter(leases, [fixed("r", 1_000)]))
        })
        .collect();
    for (_, limiter) in &servers {
        limiter.check("k", "r").await.unwrap();
    }
    until("each to discover four", TIMEOUT, || async {
        servers.iter().all(|(discovered, _)| discovered.count().get() == 4)
    })
    .await;
}

#[tokio::test]
async fn the_initial_number_is_used_until_discovery() {
    let storage = FaultyStorage::new(Behaviour::Fails);
    let discovered = Instances::discovered(5).every(PERIOD / 50);
    let modes = FailureModes::local(MemoryStorage::new(), discovered.clone());
    let wrapped = throttle_resilience::Fallback::new(storage.clone(), modes);
    let limiter = limiter(wrapped, [fixed("r", 50)]);
    assert_eq!(count_allowed(&limiter, "k", "r", 100).await, 10);
    until("discovery to be tried", TIMEOUT, || async { storage.calls() > 100 + 10 }).await;
    assert_eq!(discovered.count().get(), 5, "it cannot be discovered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cleared_storage_does_not_lower_the_number() {
    let memory = MemoryStorage::new();
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let discovered = Instances::discovered(1).every(PERIOD);
            let modes = FailureModes::local(MemoryStorage::new(), discovered.clone());
            let wrapped = throttle_resilience::Fallback::new(memory.clone(), modes);
            (discovered, limiter(wrapped, [fixed("r", 1_000)]))
        })
        .collect();
    let counts =
        || servers.iter().map(|(discovered, _)| discovered.count().get()).collect::<Vec<_>>();
    for (_, limiter) in &servers {
        limiter.check("k", "r").await.unwrap();
    }
    until("each to discover three", TIMEOUT, || async { counts() == [3, 3, 3] }).await;
    tokio::time::sleep(3 * PERIOD).await; // so that they know it from a past period
    memory.clear().await.unwrap();
    for _ in 0..15 {
        assert!(counts().iter().all(|count| *count >= 3), "{:?}", counts());
        tokio::time::sleep(PERIOD / 5).await;
    }
}

#[tokio::test]
async fn a_fixed_number_is_not_discovered() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let modes = FailureModes::local(MemoryStorage::new(), Instances::fixed(7).every(PERIOD));
    let wrapped = throttle_resilience::Fallback::new(storage.clone(), modes);
    let limiter = limiter(wrapped.clone(), [fixed("r", 50)]);
    limiter.check("k", "r").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((storage.calls(), wrapped.stats().instances), (1, 7));
    wrapped.set_instances(9);
    assert_eq!(wrapped.stats().instances, 9);
}
