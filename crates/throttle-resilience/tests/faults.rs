//! A real Redis that is killed, hangs, is slow, flaps, is full, is a replica, or fails over. With
//! every failure mode, requests are decided in time, allowed as often as the mode permits, and
//! decided by Redis again when it has recovered.

mod common;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use common::{Tally, fixed, limiter, load, until};
use throttle_core::{Limiter, Rule};
use throttle_memory::MemoryStorage;
use throttle_redis::RedisStorage;
use throttle_resilience::{FailureModes, Resilience, Resilient};
use throttle_testbed::{Connect, Faults, Proxy, Sentinels, Server};

const DEADLINE: Duration = Duration::from_millis(100);
/// The extra time that a busy machine may take. On an idle one it is a millisecond or two.
const GRACE: Duration = Duration::from_millis(100);
const OUTAGE: Duration = Duration::from_millis(1_500);
const LIMIT: u64 = 60;

/// A Redis behind a proxy, and a limiter for each failure mode.
struct Bed {
    server: Server,
    proxy: Proxy,
    limiters: [(&'static str, Limiter, Resilient); 3],
}

fn protected(redis: &RedisStorage, rule: &Rule) -> [(&'static str, Limiter, Resilient); 3] {
    let modes = [
        ("closed", FailureModes::fail_closed()),
        ("open", FailureModes::fail_open()),
        ("local", FailureModes::local(MemoryStorage::new(), 3)),
    ];
    modes.map(|(name, modes)| {
        let storage =
            Resilience::new(redis.clone()).deadline(DEADLINE).failure_modes(modes).build();
        (name, limiter(storage.clone(), [rule.clone()]), storage)
    })
}

impl Bed {
    async fn start() -> Self {
        let server = Server::start();
        let proxy = Proxy::start(server.address()).await;
        let redis = RedisStorage::connect(&format!("redis://{}", proxy.address())).await;
        let redis = redis.expect("Redis runs");
        let limiters = protected(&redis, &fixed("r", LIMIT));
        Self { server, proxy, limiters }
    }

    /// Sends requests with each mode while `fault` lasts, then ends the fault. Checks what was
    /// allowed, and how soon operation is back to normal.
    async fn endure(&self, what: &str, fault: impl AsyncFn(&Self), heal: impl AsyncFn(&Self)) {
        self.endure_for(OUTAGE, what, fault, heal).await;
    }

    async fn endure_for(
        &self,
        time: Duration,
        what: &str,
        fault: impl AsyncFn(&Self),
        heal: impl AsyncFn(&Self),
    ) {
        fault(self).await;
        let loads = self.limiters.iter().map(|(mode, limiter, _)| {
            let (limiter, key) = (limiter.clone(), format!("{what}, {mode}"));
            tokio::spawn(async move { load(&limiter, &key, 8, time).await })
        });
        let loads: Vec<_> = loads.collect();
        let mut tallies = Vec::new();
        for load in loads {
            tallies.push(load.await.expect("nothing panics"));
        }
        heal(self).await;
        for ((mode, limiter, storage), tally) in self.limiters.iter().zip(&tallies) {
            println!("{}", tally.line(&format!("{what}, {mode}")));
            bounded(mode, tally);
            back_to_normal(limiter, storage, &format!("{what}, {mode}")).await;
        }
    }
}

/// Checks a tally against its mode and the deadline.
fn bounded(mode: &str, tally: &Tally) {
    let [allowed, degraded, denied, failed] =
        [&tally.allowed, &tally.degraded, &tally.denied, &tally.failed].map(|n| n.load(Relaxed));
    assert!(allowed + denied + failed > 100, "{mode}: too few requests");
    match mode {
        "closed" => {
            assert!(allowed <= LIMIT && degraded == 0, "{allowed}, {degraded} degraded");
            assert!(failed > 0);
        }
        "open" => assert!(failed == 0 && degraded > 0, "{failed} failed"),
        // What Redis allowed before or in between, and this instance's share of a third.
        _ => {
            assert!(allowed <= LIMIT + LIMIT / 3, "{allowed}");
            assert!(failed == 0 && degraded > 0, "{failed} failed");
        }
    }
    let p999 = tally.within(999);
    assert!(p999 < DEADLINE + GRACE, "{mode}: {p999:?}");
}

async fn back_to_normal(limiter: &Limiter, storage: &Resilient, key: &str) {
    let took = until("Redis to decide again", Duration::from_secs(3), || async {
        limiter.check(key, "r").await.is_ok_and(|decision| !decision.is_degraded())
    });
    let took = took.await;
    println!("{key}: decided by Redis again after {took:?}; {:?}", storage.stats());
}

async fn nothing(_: &Bed) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_is_killed() {
    let bed = Bed::start().await;
    bed.endure(
        "killed",
        async |bed| bed.server.kill(),
        async |bed| tokio::task::block_in_place(|| bed.server.restart()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_hangs() {
    let bed = Bed::start().await;
    bed.endure("hung", async |bed| bed.server.pause(), async |bed| bed.server.resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_is_slow() {
    let bed = Bed::start().await;
    let slow = Faults { latency: Duration::from_millis(200), ..Faults::default() };
    bed.endure(
        "slow",
        async |bed| bed.proxy.set(slow.clone()).await,
        async |bed| {
            bed.proxy.heal().await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_network_drops_everything() {
    let bed = Bed::start().await;
    let hole = Faults { connect: Connect::BlackHole, reset: true, ..Faults::default() };
    bed.endure(
        "dropped",
        async |bed| bed.proxy.set(hole.clone()).await,
        async |bed| {
            bed.proxy.set(Faults { reset: true, ..Faults::default() }).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_flaps_for_a_minute() {
    let (turn, minute) = (Duration::from_millis(300), Duration::from_secs(60));
    let bed = Arc::new(Bed::start().await);
    let script = move || {
        let gone = Faults { connect: Connect::Refuse, reset: true, ..Faults::default() };
        (0..200).map(move |i| (turn, if i % 2 == 0 { gone.clone() } else { Faults::default() }))
    };
    let flapping = Arc::clone(&bed);
    let flapping = tokio::spawn(async move { flapping.proxy.run(script()).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    bed.endure_for(minute, "flapping", nothing, async |bed| {
        flapping.abort();
        bed.proxy.heal().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_is_full() {
    let bed = Bed::start().await;
    let set = |bed: &Bed, memory| drop(bed.server.command(&["CONFIG", "SET", "maxmemory", memory]));
    bed.endure("full", async |bed| set(bed, "1mb"), async |bed| set(bed, "0")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_rejects_writes() {
    let bed = Bed::start().await;
    let master = Server::start();
    let port = master.port().to_string();
    bed.endure(
        "read-only",
        async |bed| drop(bed.server.command(&["REPLICAOF", "127.0.0.1", &port])),
        async |bed| drop(bed.server.command(&["REPLICAOF", "NO", "ONE"])),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_forbids_the_command() {
    let bed = Bed::start().await;
    let allow = |bed: &Bed, what| drop(bed.server.command(&["ACL", "SETUSER", "default", what]));
    bed.endure("forbidden", async |bed| allow(bed, "-evalsha"), async |bed| allow(bed, "+evalsha"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sentinels_fail_over_to_a_replica() {
    let sentinels = Sentinels::start();
    let addresses = sentinels.sentinel_addresses();
    let redis = RedisStorage::sentinel(addresses, sentinels.master_name()).connect().await.unwrap();
    let limiters = protected(&redis, &fixed("r", LIMIT));
    let loads: Vec<_> = limiters
        .iter()
        .map(|(mode, limiter, _)| {
            let (limiter, mode) = (limiter.clone(), *mode);
            tokio::spawn(async move { load(&limiter, mode, 8, 2 * OUTAGE).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let old = sentinels.kill_master();
    tokio::task::block_in_place(|| sentinels.wait_for_new_master(old, Duration::from_secs(30)));
    for (load, (mode, limiter, storage)) in loads.into_iter().zip(&limiters) {
        let tally = load.await.expect("nothing panics");
        println!("{}", tally.line(&format!("failing over, {mode}")));
        let p999 = tally.within(999);
        assert!(p999 < DEADLINE + GRACE, "{mode}: {p999:?}");
        let (allowed, failed) = (tally.allowed.load(Relaxed), tally.failed.load(Relaxed));
        // Charges that were not replicated are lost with the master: at most the limit is allowed
        // again.
        match *mode {
            "closed" => assert!(allowed <= 2 * LIMIT, "{allowed}"),
            "open" => assert_eq!(failed, 0),
            _ => assert!(failed == 0 && allowed <= 2 * LIMIT + LIMIT / 3, "{allowed}"),
        }
        back_to_normal(limiter, storage, mode).await;
    }
}
