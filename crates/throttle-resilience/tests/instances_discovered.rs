//! Servers that learn from the Redis they share how many they are.

mod common;

use std::time::Duration;

use common::{Behaviour, Moody, admitted, fixed, limiter, until};
use throttle_core::{Limiter, Storage};
use throttle_memory::MemoryStorage;
use throttle_redis::RedisStorage;
use throttle_resilience::{FailureModes, Instances, LeaseBudget, Leases, Resilience, Resilient};
use throttle_testbed::{Connect, Faults, Proxy, Server};

const PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

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
async fn three_limiters_over_one_redis_know_that_they_are_three_and_see_one_go() {
    let redis = Server::start();
    let proxy = Proxy::start(redis.address()).await;
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(server_of(&proxy.address()).await);
        // It begins with the first request, whatever that is about.
        servers.last().unwrap().0.check("somebody", "r").await.unwrap();
    }
    until("each to know of three", PATIENCE, || async { known(&servers) == [3, 3, 3] }).await;

    // Redis is gone, for longer than servers are counted: what was known counts, and no more than the limit
    // passes.
    proxy.set(Faults { connect: Connect::Refuse, reset: true, ..Faults::default() }).await;
    tokio::time::sleep(4 * PERIOD).await;
    assert_eq!(known(&servers), [3, 3, 3]);
    let mut passed = 0;
    for (limiter, _) in &servers {
        passed += admitted(limiter, "k", "r", 200).await;
    }
    assert_eq!(passed, 99);

    // It is back without its data: nobody believes that there are fewer for it.
    redis.command(&["FLUSHALL"]);
    proxy.heal().await;
    let mut seen = Vec::new();
    until("Redis to decide", PATIENCE, || async {
        servers[0].0.check("somebody", "r").await.is_ok_and(|decision| !decision.is_degraded())
    })
    .await;
    for _ in 0..20 {
        seen.push(known(&servers));
        tokio::time::sleep(PERIOD / 5).await;
    }
    assert!(seen.iter().flatten().all(|count| *count >= 3), "{seen:?}");

    drop(servers.pop());
    until("the others to see that it is gone", PATIENCE, || async { known(&servers) == [2, 2] })
        .await;
    servers.push(server_of(&proxy.address()).await);
    servers[2].0.check("somebody", "r").await.unwrap();
    until("a new one to be known", PATIENCE, || async { known(&servers) == [3, 3, 3] }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_go_by_the_number_that_is_learnt() {
    let memory = MemoryStorage::new();
    let servers: Vec<_> = (0..4)
        .map(|_| {
            let learnt = Instances::discovered(1).every(PERIOD);
            let leases = Leases::new(memory.clone(), learnt.clone());
            let leases = leases.rule("r", LeaseBudget::percent(10)).build();
            (learnt, limiter(leases, [fixed("r", 1_000)]))
        })
        .collect();
    for (_, limiter) in &servers {
        limiter.check("k", "r").await.unwrap();
    }
    until("each to know of four", PATIENCE, || async {
        servers.iter().all(|(learnt, _)| learnt.count().get() == 4)
    })
    .await;
}

#[tokio::test]
async fn until_it_is_known_the_number_given_at_first_counts() {
    let storage = Moody::new(Behaviour::Fails);
    let learnt = Instances::discovered(5).every(PERIOD / 50);
    let modes = FailureModes::local(MemoryStorage::new(), learnt.clone());
    let wrapped = throttle_resilience::Fallback::new(storage.clone(), modes);
    let limiter = limiter(wrapped, [fixed("r", 50)]);
    assert_eq!(admitted(&limiter, "k", "r", 100).await, 10);
    until("it to be tried", PATIENCE, || async { storage.calls() > 100 + 10 }).await;
    assert_eq!(learnt.count().get(), 5, "it cannot be known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cleared_storage_makes_nobody_believe_to_be_alone() {
    let memory = MemoryStorage::new();
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let learnt = Instances::discovered(1).every(PERIOD);
            let modes = FailureModes::local(MemoryStorage::new(), learnt.clone());
            let wrapped = throttle_resilience::Fallback::new(memory.clone(), modes);
            (learnt, limiter(wrapped, [fixed("r", 1_000)]))
        })
        .collect();
    let counts = || servers.iter().map(|(learnt, _)| learnt.count().get()).collect::<Vec<_>>();
    for (_, limiter) in &servers {
        limiter.check("k", "r").await.unwrap();
    }
    until("each to know of three", PATIENCE, || async { counts() == [3, 3, 3] }).await;
    tokio::time::sleep(3 * PERIOD).await; // so that they know it of a period that is over
    memory.clear().await.unwrap();
    for _ in 0..15 {
        assert!(counts().iter().all(|count| *count >= 3), "{:?}", counts());
        tokio::time::sleep(PERIOD / 5).await;
    }
}

#[tokio::test]
async fn a_number_that_is_given_is_not_learnt() {
    let storage = Moody::new(Behaviour::AtOnce);
    let modes = FailureModes::local(MemoryStorage::new(), Instances::fixed(7).every(PERIOD));
    let wrapped = throttle_resilience::Fallback::new(storage.clone(), modes);
    let limiter = limiter(wrapped.clone(), [fixed("r", 50)]);
    limiter.check("k", "r").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((storage.calls(), wrapped.stats().instances), (1, 7));
    wrapped.set_instances(9);
    assert_eq!(wrapped.stats().instances, 9);
}
