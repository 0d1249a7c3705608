//! Failovers by Sentinel under load.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use common::{Tally, fixed, limiter, sentinel};
use throttle_core::Limiter;
use throttle_testbed::Sentinels;

/// Tasks that send requests until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(limiter: &Limiter, tasks: usize) -> Self {
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
        let tasks = (0..tasks)
            .map(|_| {
                let (limiter, stop, tally) = (limiter.clone(), stop.clone(), tally.clone());
                tokio::spawn(async move {
                    while !stop.load(Relaxed) {
                        let _ = tally.ask(&limiter, "k", &["r"]).await;
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                })
            })
            .collect();
        Self { stop, tally, tasks }
    }

    async fn end(self) -> Arc<Tally> {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await.expect("no task panics");
        }
        self.tally
    }
}

async fn answers_again(limiter: &Limiter, within: Duration) -> Duration {
    common::until_answered(limiter, "k", "r", within).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_kill_9_of_the_master_requests_are_answered_within_five_seconds_of_the_election() {
    let sentinels = Sentinels::start();
    let storage = sentinel(&sentinels).await;
    let limiter = limiter(&storage, [fixed("r", 1_000_000)]);
    answers_again(&limiter, Duration::from_secs(1)).await;
    let load = Load::start(&limiter, 8);
    tokio::time::sleep(Duration::from_millis(300)).await;

    let old = sentinels.kill_master().address();
    let old = sentinels.servers().iter().find(|server| server.address() == old).unwrap();
    let new =
        tokio::task::block_in_place(|| sentinels.wait_for_new_master(old, Duration::from_secs(30)));
    let elected = Instant::now();
    answers_again(&limiter, Duration::from_secs(5)).await;
    println!("answered {:?} after the election", elected.elapsed());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let tally = load.end().await;

    let answer = limiter.peek("k", "r").await.unwrap();
    let counted = 1_000_000 - answer.remaining();
    println!(
        "{} requests were allowed, of which the new master counts {counted}; {} failed",
        tally.allowed(),
        tally.failed()
    );
    assert!(tally.allowed() > 100);
    // Charges that were not replicated yet are lost, and charges without an answer are counted.
    assert!(counted + 1_000 >= tally.allowed(), "{counted} of {}", tally.allowed());
    assert!(counted <= tally.allowed() + tally.failed() + 2);
    assert!(storage.stats().failovers >= 1, "{:?}", storage.stats());
    let info = storage.info().await.unwrap();
    assert_eq!(info.nodes[0].address, new.address());
    assert!(tally.longest() < Duration::from_millis(700), "{:?}", tally.longest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_demoted_master_is_replaced_at_once() {
    let sentinels = Sentinels::start();
    let storage = sentinel(&sentinels).await;
    let limiter = limiter(&storage, [fixed("r", 1_000_000)]);
    let before = storage.info().await.unwrap().nodes[0].address.clone();
    let load = Load::start(&limiter, 8);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let new = tokio::task::block_in_place(|| sentinels.failover().address());
    assert_ne!(before, new);
    answers_again(&limiter, Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let tally = load.end().await;
    let info = storage.info().await.unwrap();
    assert_eq!(info.nodes[0].address, new);
    assert_eq!(info.nodes[0].role, "master");
    println!("{} allowed, {} failed", tally.allowed(), tally.failed());
    // No connection to the old master is left.
    let old = sentinels.servers().iter().find(|server| server.address() == before).unwrap();
    let left = old.command(&["CLIENT", "LIST", "TYPE", "normal"]).to_string();
    assert_eq!(left.matches("cmd=evalsha").count(), 0, "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_of_three_sentinels_may_be_down() {
    let sentinels = Sentinels::start();
    for sentinel in &sentinels.sentinels()[..2] {
        sentinel.kill();
    }
    let limiter = limiter(&sentinel(&sentinels).await, [fixed("r", 10)]);
    answers_again(&limiter, Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_new_master_is_found_while_a_sentinel_hangs() {
    for hung in 0..3 {
        let sentinels = tokio::task::block_in_place(Sentinels::start);
        let storage = sentinel(&sentinels).await;
        let limiter = limiter(&storage, [fixed("r", 1_000_000)]);
        answers_again(&limiter, Duration::from_secs(1)).await;
        tokio::task::block_in_place(|| {
            sentinels.sentinels()[hung].pause();
            let old = sentinels.kill_master();
            sentinels.wait_for_new_master(old, Duration::from_secs(30));
        });
        let took = answers_again(&limiter, Duration::from_secs(5)).await;
        println!("sentinel {hung} hung, answered {took:?} after the election");
    }
}
