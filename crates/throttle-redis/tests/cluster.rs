//! A cluster whose nodes die and whose slots move, while requests go on.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{Tally, cluster, fixed, limiter, until_answered};
use throttle_core::{AtomicStorage, Charge, ChargeRequest, Key, Limiter, Outcome, Storage};
use throttle_testbed::Cluster;

const LIMIT: u64 = 1_000_000;

async fn counted(limiter: &Limiter, key: &str) -> u64 {
    LIMIT - limiter.peek(key, "r").await.expect("the cluster is well").remaining()
}

/// Lets requests come while a slot is between two nodes.
#[expect(clippy::disallowed_methods, reason = "no executor's thread is blocked: block_in_place")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Asks about one key from several tasks while `work` goes on.
async fn under_load(limiter: &Limiter, key: &'static str, work: impl FnOnce()) -> Arc<Tally> {
    let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (limiter, stop, tally) = (limiter.clone(), stop.clone(), tally.clone());
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    if let Err(error) = tally.ask(&limiter, key, &["r"]).await {
                        println!("{error}");
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    tokio::task::block_in_place(work);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Relaxed);
    for task in tasks {
        task.await.expect("no task panics");
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_that_moves_under_load_fails_nobody_and_counts_nobody_twice() {
    let nodes = Cluster::builder().without_replicas().start();
    let storage = cluster(&nodes).await;
    let limiter = limiter(&storage, [fixed("r", LIMIT)]);
    let slot = nodes.slot_of("{moving}");
    let tally = under_load(&limiter, "moving", || {
        for _ in 0..4 {
            let owner = nodes.node_of_slot(slot).address();
            let to = nodes.masters().into_iter().find(|node| node.address() != owner).unwrap();
            let moving = nodes.begin_move(slot, to);
            pause();
            moving.move_keys();
            pause();
            moving.finish();
        }
    })
    .await;
    assert_eq!(tally.failed(), 0);
    assert_eq!(counted(&limiter, "moving").await, tally.admitted());
    assert!(tally.admitted() > 500, "{}", tally.admitted());
    assert!(storage.stats().redirections > 0, "{:?}", storage.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_named_without_its_host_is_on_the_host_of_the_one_that_was_asked() {
    for endpoint in ["unknown-endpoint", "hostname"] {
        let nodes = Cluster::builder()
            .option("cluster-preferred-endpoint-type", endpoint) // without a hostname it is `?`
            .without_replicas()
            .start();
        let storage = cluster(&nodes).await;
        let limiter = limiter(&storage, [fixed("r", LIMIT)]);
        let slot = nodes.slot_of("{k}");
        let owner = nodes.node_of_slot(slot).address();
        let to = nodes.masters().into_iter().find(|node| node.address() != owner).unwrap();
        assert!(limiter.check("k", "r").await.expect(endpoint).is_allowed());
        let moving = tokio::task::block_in_place(|| nodes.begin_move(slot, to));
        tokio::task::block_in_place(|| moving.move_keys());
        limiter.check("k", "r").await.expect("the old owner answers ASK");
        tokio::task::block_in_place(|| moving.finish());
        limiter.check("k", "r").await.expect("the old owner answers MOVED");
        assert_eq!(counted(&limiter, "k").await, 3, "{endpoint}");
        assert!(storage.stats().redirections >= 2, "{endpoint}: {:?}", storage.stats());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_manual_failover_fails_nobody_and_the_new_master_is_found() {
    let nodes = Cluster::start();
    let limiter = limiter(&cluster(&nodes).await, [fixed("r", LIMIT)]);
    let slot = nodes.slot_of("{k}");
    let old = nodes.node_of_slot(slot).address();
    let tally = under_load(&limiter, "k", || {
        nodes.failover(nodes.replica_of(nodes.node_of_slot(slot)));
    })
    .await;
    assert_ne!(nodes.node_of_slot(slot).address(), old);
    assert_eq!(tally.failed(), 0);
    assert_eq!(counted(&limiter, "k").await, tally.admitted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_a_master_is_killed_its_replica_is_found_without_a_restart() {
    let nodes = Cluster::start();
    let storage = cluster(&nodes).await;
    let limiter = limiter(&storage, [fixed("r", LIMIT)]);
    let slot = nodes.slot_of("{k}");
    let tally = under_load(&limiter, "k", || {
        nodes.node_of_slot(slot).kill();
        nodes.wait_until_ok(Duration::from_secs(30));
    })
    .await;
    until_answered(&limiter, "k", "r", Duration::from_secs(5)).await;
    let counted = counted(&limiter, "k").await;
    println!("{} admitted, {} failed, {counted} counted", tally.admitted(), tally.failed());
    assert!(counted <= tally.admitted() + tally.failed() + 2);
    assert!(counted + 1_000 >= tally.admitted());
    assert!(tally.longest() < Duration::from_millis(800), "{:?}", tally.longest());
    // The others were never in trouble.
    for key in 0..50 {
        limiter.check(&format!("other{key}")[..], "r").await.unwrap();
    }
    assert_eq!(storage.info().await.unwrap().nodes.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_that_hangs_is_left_though_nobody_waits_as_long_as_the_response_timeout() {
    let nodes = Cluster::start();
    let limiter = limiter(&cluster(&nodes).await, [fixed("r", LIMIT)]);
    let hung = nodes.node_of_slot(nodes.slot_of("{k}"));
    let ask = || tokio::time::timeout(Duration::from_millis(50), limiter.check("k", "r"));
    ask().await.expect("it is well").expect("it is well");
    tokio::task::block_in_place(|| {
        hung.pause();
        nodes.wait_until_ok(Duration::from_secs(30));
    });
    let elected = std::time::Instant::now();
    while !matches!(ask().await, Ok(Ok(_))) {
        assert!(elected.elapsed() < Duration::from_secs(5), "the hung one is asked still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("answered {:?} after the election", elected.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clear_reaches_every_master() {
    let nodes = Cluster::builder().without_replicas().start();
    let storage = cluster(&nodes).await;
    for i in 0..500 {
        storage.set(&format!("{i}"), "x".into(), None).await.unwrap();
    }
    nodes.masters()[0].try_command(&["SET", "foreign", "stays"]).unwrap();
    assert_eq!(storage.clear().await.unwrap(), 500);
    let left: i64 = nodes.servers().map(|node| node.command(&["DBSIZE"]).integer()).sum();
    assert!(left <= 1, "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_of_several_slots_are_charged_all_or_none() {
    let nodes = Cluster::builder().without_replicas().start();
    let storage = cluster(&nodes).await;
    let rules = [fixed("a", 10), fixed("b", 3), fixed("c", 10)];
    let rules = rules.map(|rule| Arc::new(rule.check().unwrap()));
    let keys = ["one", "two", "three"].map(Key::from);
    let slots = ["{one}", "{two}", "{three}"].map(|key| nodes.slot_of(key));
    assert!(slots[0] != slots[1] && slots[1] != slots[2]);
    let charges: Vec<_> =
        keys.iter().zip(&rules).map(|(key, rule)| Charge::new(key, rule, 1)).collect();
    let request = ChargeRequest::new(&charges, None);
    let remaining = |outcome: &Outcome| -> Vec<u64> {
        outcome.verdicts().iter().map(|verdict| verdict.remaining).collect()
    };
    for left in [2, 1, 0] {
        let outcome = storage.acquire(&request).await.unwrap();
        assert!(outcome.is_allowed());
        assert_eq!(remaining(&outcome), [7 + left, left, 7 + left]);
    }
    for _ in 0..3 {
        let denial = storage.acquire(&request).await.unwrap();
        let allowed: Vec<_> = denial.verdicts().iter().map(|verdict| verdict.allowed).collect();
        assert_eq!(allowed, [true, false, true]);
        assert_eq!(
            remaining(&denial),
            [7, 0, 7],
            "the first rule was charged though the second refused"
        );
        assert!(denial.verdicts().iter().all(|verdict| verdict.receipt.is_none()));
    }
    assert_eq!(remaining(&storage.peek(&request).await.unwrap()), [7, 0, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_node_of_the_address_list_is_enough() {
    let nodes = Cluster::start();
    let url = nodes.urls().swap_remove(4);
    let storage = throttle_redis::RedisStorage::connect(
        &url.replace("redis://", "redis+cluster://127.0.0.1:1,"),
    )
    .await
    .unwrap();
    let limiter = limiter(&storage, [fixed("r", LIMIT)]);
    for key in 0..50 {
        limiter.check(&format!("k{key}")[..], "r").await.unwrap();
    }
    assert_eq!(storage.info().await.unwrap().nodes.len(), 3);
}
