//! A cluster under load while nodes fail and slots move.

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
    LIMIT - limiter.peek(key, "r").await.expect("the cluster is healthy").remaining()
}

/// Sleeps, so that requests arrive while a slot is between two nodes.
#[expect(clippy::disallowed_methods, reason = "no executor's thread is blocked: block_in_place")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Runs `work` while several tasks send requests for one key.
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
async fn while_a_slot_moves_under_load_no_request_fails_or_is_counted_twice() {
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
    assert_eq!(counted(&limiter, "moving").await, tally.allowed());
    assert!(tally.allowed() > 500, "{}", tally.allowed());
    assert!(storage.stats().redirections > 0, "{:?}", storage.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redirection_without_a_host_leads_to_the_same_host() {
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
async fn during_a_manual_failover_no_request_fails_and_the_new_master_is_found() {
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
    assert_eq!(counted(&limiter, "k").await, tally.allowed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_master_was_killed_its_replica_is_found() {
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
    println!("{} allowed, {} failed, {counted} counted", tally.allowed(), tally.failed());
    assert!(counted <= tally.allowed() + tally.failed() + 2);
    assert!(counted + 1_000 >= tally.allowed());
    assert!(tally.longest() < Duration::from_millis(800), "{:?}", tally.longest());
    // The other masters are not affected.
    for key in 0..50 {
        limiter.check(&format!("other{key}")[..], "r").await.unwrap();
    }
    assert_eq!(storage.info().await.unwrap().nodes.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_that_hangs_is_replaced_even_if_callers_have_shorter_deadlines() {
    let nodes = Cluster::start();
    let limiter = limiter(&cluster(&nodes).await, [fixed("r", LIMIT)]);
    let hung = nodes.node_of_slot(nodes.slot_of("{k}"));
    let ask = || tokio::time::timeout(Duration::from_millis(50), limiter.check("k", "r"));
    ask().await.expect("the cluster is healthy").expect("the cluster is healthy");
    tokio::task::block_in_place(|| {
        hung.pause();
        nodes.wait_until_ok(Duration::from_secs(30));
    });
    let elected = std::time::Instant::now();
    while !matches!(ask().await, Ok(Ok(_))) {
        assert!(
            elected.elapsed() < Duration::from_secs(5),
            "requests still go to the master that hangs"
        );
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
            "the first rule was charged although the second denied"
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
