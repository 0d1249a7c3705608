//! Concurrency limits that several servers share.

mod common;

use std::{
    env,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use common::{cluster, sentinel, standalone};
use throttle_core::{ConcurrencyLimit, ConcurrencyPermit, Limiter};
use throttle_redis::{RedisStorage, RedisStorageBuilder};
use throttle_testbed::{Cluster, Proxy, Sentinels, Server};
use tokio::{task::block_in_place, time::sleep};

const URL: &str = "RATETHROTTLE_TEST_URL";
const LEASE: Duration = Duration::from_secs(1);

fn uploads(storage: &RedisStorage, limit: u64) -> ConcurrencyLimit {
    Limiter::new(storage.clone()).concurrency("uploads", limit).expect("the limit is valid")
}

async fn with_lease(builder: RedisStorageBuilder) -> RedisStorage {
    builder.permit_lease(LEASE).connect().await.expect("the server runs")
}

async fn take(uploads: &ConcurrencyLimit, key: &str) -> ConcurrencyPermit {
    uploads.try_acquire(key).await.expect("Redis answers").into_permit().expect("a permit is free")
}

/// Waits until `in_use` permits are in use, and returns the time that it took.
async fn until(uploads: &ConcurrencyLimit, key: &str, in_use: u64) -> Duration {
    let began = Instant::now();
    loop {
        match uploads.in_use(key).await {
            Ok(now) if now == in_use => return began.elapsed(),
            answer if began.elapsed() > Duration::from_secs(15) => panic!("in use: {answer:?}"),
            _ => sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_servers_never_hold_more_permits_than_the_limit() {
    const LIMIT: u64 = 7;
    let server = Server::start();
    let (held, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let uploads = uploads(&standalone(&server).await, LIMIT);
        for _ in 0..32 {
            let (uploads, held, most) = (uploads.clone(), Arc::clone(&held), Arc::clone(&most));
            tasks.push(tokio::spawn(async move {
                for _ in 0..30 {
                    let Some(permit) = uploads.try_acquire("k").await.unwrap().into_permit() else {
                        continue;
                    };
                    most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                    sleep(Duration::from_millis(1)).await;
                    held.fetch_sub(1, SeqCst);
                    drop(permit);
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(most.load(SeqCst), LIMIT, "all permits were used, and no more");
    let uploads = uploads(&standalone(&server).await, LIMIT);
    until(&uploads, "k", 0).await;
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0, "nothing is left");
}

/// Runs as a server that holds permits until it is killed, and is not a test by itself.
#[tokio::test]
#[ignore = "another test runs it in a separate process"]
async fn child() {
    let url = env::var(URL).expect("a parent runs it");
    let uploads = uploads(&with_lease(RedisStorage::builder(&url)).await, 3);
    let _held = [take(&uploads, "k").await, take(&uploads, "k").await];
    sleep(Duration::from_secs(600)).await;
}

fn spawn(server: &Server) -> Child {
    Command::new(env::current_exe().expect("the path of the test is known"))
        .args(["--exact", "child", "--ignored"])
        .env(URL, server.url())
        .stdout(Stdio::null())
        .spawn()
        .expect("a process starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permits_of_a_killed_server_are_free_after_the_lease_and_not_before() {
    let server = Server::start();
    let mut child = spawn(&server);
    let uploads = uploads(&standalone(&server).await, 3);
    until(&uploads, "k", 2).await;
    sleep(3 * LEASE).await;
    assert_eq!(uploads.in_use("k").await.unwrap(), 2, "the server runs, and renews them");
    child.kill().unwrap();
    child.wait().unwrap();
    let own = take(&uploads, "k").await;
    assert!(!uploads.try_acquire("k").await.unwrap().is_allowed(), "they are not free at once");
    let took = until(&uploads, "k", 1).await;
    assert!(took < LEASE + Duration::from_secs(1), "{took:?}");
    drop(own);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_permits_of_many_keys_are_renewed() {
    let server = Server::start();
    let uploads = uploads(&with_lease(RedisStorage::builder(&server.url())).await, 1_000);
    let mut held = Vec::new();
    for i in 0..600 {
        held.push(take(&uploads, "many").await);
        held.push(take(&uploads, &format!("key {i}")).await);
    }
    sleep(3 * LEASE).await;
    assert_eq!(uploads.in_use("many").await.unwrap(), 600);
    for i in 0..600 {
        assert_eq!(uploads.in_use(format!("key {i}")).await.unwrap(), 1);
    }
    drop(held);
    until(&uploads, "many", 0).await;
    until(&uploads, "key 599", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_whose_servers_died_expires() {
    let server = Server::start();
    let mut child = spawn(&server);
    until(&uploads(&standalone(&server).await, 3), "k", 2).await;
    child.kill().unwrap();
    child.wait().unwrap();
    sleep(LEASE + Duration::from_millis(200)).await;
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0, "it expires without a call");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_redis_lost_its_data_held_permits_are_restored_and_released_ones_are_not() {
    let server = Server::start();
    let uploads = uploads(&with_lease(RedisStorage::builder(&server.url())).await, 3);
    let (first, second) = (take(&uploads, "k").await, take(&uploads, "k").await);
    server.command(&["SCRIPT", "FLUSH"]);
    server.command(&["FLUSHALL"]);
    drop(first);
    until(&uploads, "k", 1).await;
    sleep(2 * LEASE).await;
    assert_eq!(uploads.in_use("k").await.unwrap(), 1);
    drop(second);
    until(&uploads, "k", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_survives_a_failover() {
    let sentinels = block_in_place(Sentinels::start);
    let builder = RedisStorage::sentinel(sentinels.sentinel_addresses(), sentinels.master_name());
    let uploads = uploads(&with_lease(builder).await, 3);
    let permit = take(&uploads, "k").await;
    block_in_place(|| {
        let old = sentinels.kill_master();
        sentinels.wait_for_new_master(old, Duration::from_secs(20));
    });
    until(&uploads, "k", 1).await;
    sleep(2 * LEASE).await;
    assert_eq!(uploads.in_use("k").await.unwrap(), 1, "it is renewed there");
    drop(permit);
    until(&uploads, "k", 0).await;
    let _ = sentinel(&sentinels).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_the_permits_of_a_key_move_with_its_slot() {
    let nodes = block_in_place(|| Cluster::builder().without_replicas().start());
    let uploads = uploads(&cluster(&nodes).await, 2);
    let mut held = Vec::new();
    for i in 0..30 {
        let key = format!("client {i}");
        held.push(take(&uploads, &key).await);
        held.push(take(&uploads, &key).await);
        assert!(!uploads.try_acquire(&key).await.unwrap().is_allowed());
    }
    let slot = nodes.slot_of("{client%200}");
    let owner = nodes.node_of_slot(slot).address();
    let masters = nodes.masters();
    let to = masters.into_iter().find(|node| node.address() != owner).unwrap();
    block_in_place(|| nodes.move_slot(slot, to));
    assert_eq!(uploads.in_use("client 0").await.unwrap(), 2);
    drop(held);
    for i in 0..30 {
        until(&uploads, &format!("client {i}"), 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_holds_no_permit() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let storage = RedisStorage::connect(&format!("redis://{}", proxy.address())).await.unwrap();
    let (slow, direct) = (uploads(&storage, 50), uploads(&standalone(&server).await, 50));
    drop(take(&slow, "k").await);
    until(&direct, "k", 0).await;
    proxy.hold_answers(Duration::from_millis(200)); // within the response timeout
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let slow = slow.clone();
            tokio::spawn(async move { take(&slow, "k").await })
        })
        .collect();
    until(&direct, "k", 20).await;
    asking.iter().for_each(|one| one.abort());
    let took = until(&direct, "k", 0).await;
    assert!(took < Duration::from_secs(5), "{took:?}: long before the lease of ten seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_whose_answer_is_lost_is_released_and_the_caller_gets_the_error() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let builder = RedisStorage::builder(&format!("redis://{}", proxy.address()));
    let storage = builder.response_timeout(Duration::from_millis(150)).connect().await.unwrap();
    let (slow, direct) = (uploads(&storage, 5), uploads(&standalone(&server).await, 5));
    drop(take(&slow, "k").await);
    until(&direct, "k", 0).await;
    proxy.hold_answers(Duration::from_millis(400));
    assert!(slow.try_acquire("k").await.is_err());
    let took = until(&direct, "k", 0).await;
    assert!(took < Duration::from_secs(5), "{took:?}: long before the lease of ten seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn hashed_identities_have_permits_and_are_not_shown() {
    let server = Server::start();
    let builder = RedisStorage::builder(&server.url()).hash_keys("0123456789abcdef");
    let uploads = uploads(&with_lease(builder).await, 1);
    let permit = take(&uploads, "192.0.2.1").await;
    assert!(!uploads.try_acquire("192.0.2.1").await.unwrap().is_allowed());
    let keys = server.command(&["KEYS", "*"]).to_string();
    assert!(keys.contains("%places:uploads") && !keys.contains("192.0.2.1"), "{keys}");
    drop(permit);
    until(&uploads, "192.0.2.1", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_too_short_is_rejected() {
    let builder = RedisStorage::builder("redis://127.0.0.1:1").permit_lease(Duration::ZERO);
    let error = builder.connect().await.unwrap_err().to_string();
    assert_eq!(error, "permit_lease cannot be 0ns: it must be from 1 s to an hour");
}
