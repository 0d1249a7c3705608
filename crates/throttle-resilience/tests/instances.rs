//! Three instances that share a Redis during an outage and after it; and a flood.

mod common;

use std::time::{Duration, Instant};

use common::{count_allowed, fixed, limiter, until};
use throttle_core::Limiter;
use throttle_memory::MemoryStorage;
use throttle_redis::RedisStorage;
use throttle_resilience::{DenialCache, FailureModes, Resilience, Resilient};
use throttle_testbed::{Connect, Faults, Proxy, Server};

const SERVERS: u64 = 3;

async fn server_of(address: &str, limit: u64) -> (Limiter, Resilient) {
    let redis = RedisStorage::connect(&format!("redis://{address}")).await.expect("Redis runs");
    let modes = FailureModes::local(MemoryStorage::new(), SERVERS);
    let storage = Resilience::new(redis).failure_modes(modes).denial_cache(1_000).build();
    (limiter(storage.clone(), [fixed("r", limit)]), storage)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_redis_all_instances_together_allow_exactly_the_limit() {
    for (limit, most) in [(100, 99), (99, 99), (2, SERVERS)] {
        let redis = Server::start();
        let proxy = Proxy::start(redis.address()).await;
        let mut servers = Vec::new();
        for _ in 0..SERVERS {
            servers.push(server_of(&proxy.address(), limit).await);
        }
        proxy.set(Faults { connect: Connect::Refuse, reset: true, ..Faults::default() }).await;
        let tasks: Vec<_> = servers
            .iter()
            .map(|(limiter, _)| limiter.clone())
            .map(|limiter| {
                tokio::spawn(async move { count_allowed(&limiter, "k", "r", 300).await })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        assert_eq!(sum, most, "of a limit of {limit}");

        // Redis returns without data loss: the costs allowed in the meantime are charged to it.
        proxy.heal().await;
        for (limiter, storage) in &servers {
            let back = until(
                "Redis to decide and the charges to be replayed",
                Duration::from_secs(5),
                || async {
                    let decided = limiter.peek("k", "r").await.is_ok_and(|one| !one.is_degraded());
                    decided && storage.stats().fallback.deferred == 0
                },
            );
            println!("recovered after {:?}: {:?}", back.await, storage.stats());
        }
        let stats = servers.iter().map(|(_, storage)| storage.stats().fallback);
        let (replayed, deferred) =
            stats.fold((0, 0), |sum, one| (sum.0 + one.replayed, sum.1 + one.deferred));
        assert_eq!(deferred, 0);
        let left = servers[0].0.peek("k", "r").await.unwrap().remaining();
        assert_eq!(left, limit - replayed.min(limit), "{replayed} were charged");
        assert!(replayed > 0 || limit == 2, "the first failed call may have been charged already");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_one_key_costs_redis_fewer_than_ten_calls_a_second() {
    let redis = Server::start();
    let storage = RedisStorage::connect(&redis.url()).await.unwrap();
    let denials = DenialCache::new(storage, 1_000);
    let limiter = limiter(denials.clone(), [fixed("r", 5)]);
    assert_eq!(count_allowed(&limiter, "k", "r", 10).await, 5);
    redis.command(&["CONFIG", "RESETSTAT"]);
    let (began, mut asked) = (Instant::now(), 0_u64);
    let end = Duration::from_secs(3);
    while began.elapsed() < end {
        for _ in 0..500 {
            assert!(!limiter.check("k", "r").await.unwrap().is_allowed());
            asked += 1;
        }
        tokio::task::yield_now().await;
    }
    let stats = redis.command(&["INFO", "commandstats"]).to_string();
    let calls = stats.lines().filter_map(|line| {
        let (_, rest) = line.split_once("cmdstat_evalsha:calls=")?;
        rest.split(',').next()?.parse::<u64>().ok()
    });
    let calls: u64 = calls.sum();
    println!("{} requests a second, {calls} calls in {end:?}", asked / 3);
    assert!(calls >= 3, "it is asked again, {stats}");
    assert!(calls < 30, "{calls} calls");
}
