//! The ACL users of the guide, with no other permissions.

mod common;

use std::{error::Error, fs, time::Duration};

use common::{fixed, limiter, until_answered};
use throttle_core::{Algorithm, Limiter, Rule, Storage};
use throttle_redis::RedisStorage;
use throttle_testbed::{Cluster, Sentinels, Server};
use tokio::task::block_in_place;

const LEASE: Duration = Duration::from_secs(1);

/// Returns the rules of the guide's n-th `ACL SETUSER`.
fn rules(n: usize) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let guide = fs::read_to_string(path).expect("the guide is there");
    let lines = guide.lines().filter(|line| line.starts_with("ACL SETUSER ratethrottle on >"));
    let line = lines.into_iter().nth(n).expect("the guide has it");
    line.splitn(6, ' ').nth(5).expect("there are rules").to_owned()
}

async fn use_everything(storage: &RedisStorage) -> Result<(), Box<dyn Error>> {
    let limiter = Limiter::new(storage.clone());
    for algorithm in Algorithm::ALL {
        let name = algorithm.as_str();
        let rule = Rule::per_minute(name, 2).algorithm(algorithm).block(Duration::from_secs(60));
        limiter.add_rule(rule)?;
        for _ in 0..4 {
            limiter.check("k", name).await?;
        }
        limiter.refund("k", name, 1).await?;
        limiter.reset("k", name).await?;
    }
    let lists = limiter.shared_lists().await?;
    lists.allow("user:1").await?;
    lists.deny_for("user:2", Duration::from_secs(9)).await?;
    lists.remove_allowed("user:1").await?;
    let uploads = limiter.concurrency("uploads", 5)?;
    let permit = uploads.try_acquire("k").await?.into_permit().ok_or("a permit is free")?;
    // Longer than the lease, so that the permit is renewed.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(uploads.in_use("k").await?, 1);
    drop(permit);
    while uploads.in_use("k").await? > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    storage.ping().await?;
    storage.info().await?;
    let ttl = Some(Duration::from_secs(9));
    storage.set("v", "1".into(), ttl).await?;
    storage.increment("v", 1, None).await?;
    storage.increment("w", 1, ttl).await?;
    storage.get("v").await?;
    storage.exists("v").await?;
    storage.delete("v").await?;
    storage.clear().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_guide_suffices_with_a_client_name_and_a_database() {
    let server = Server::builder().acl_user("limits", "secret", &rules(0)).start();
    let builder = RedisStorage::builder(&format!("{}/2", server.url_as("limits", "secret")));
    let builder = builder.client_name("web-1").permit_lease(LEASE);
    use_everything(&builder.connect().await.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_the_guide_suffice_for_sentinels_with_logins() {
    let sentinels = block_in_place(|| {
        Sentinels::builder()
            .password("not ours")
            .acl_user("limits", "secret", &rules(0))
            .sentinel_password("not ours either")
            .sentinel_acl_user("watcher", "other secret", &rules(1))
            .start()
    });
    let storage = RedisStorage::sentinel(sentinels.sentinel_addresses(), sentinels.master_name())
        .username("limits")
        .password("secret")
        .sentinel_username("watcher")
        .sentinel_password("other secret")
        .permit_lease(LEASE)
        .connect()
        .await
        .unwrap();
    use_everything(&storage).await.unwrap();
    // The storage subscribes to each sentinel.
    let mut attempts = 100;
    let is_subscribed = |sentinel: &Server| {
        let clients = sentinel.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).to_string();
        clients.contains("user=watcher")
    };
    while !sentinels.sentinels().iter().all(is_subscribed) {
        assert!(attempts > 0, "a sentinel has no subscription");
        attempts -= 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let limiter = limiter(&storage, [fixed("r", 1_000_000)]);
    block_in_place(|| sentinels.failover());
    until_answered(&limiter, "k", "r", Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_guide_suffices_in_a_cluster_whose_slots_move() {
    let nodes = block_in_place(|| {
        Cluster::builder()
            .password("not ours")
            .acl_user("limits", "secret", &rules(0))
            .without_replicas()
            .start()
    });
    let storage = RedisStorage::cluster(nodes.addresses())
        .username("limits")
        .password("secret")
        .permit_lease(LEASE)
        .connect()
        .await
        .unwrap();
    use_everything(&storage).await.unwrap();
    let limiter = limiter(&storage, [fixed("r", 1_000_000)]);
    let slot = nodes.slot_of("{k}");
    let owner = nodes.node_of_slot(slot).address();
    let masters = nodes.masters();
    let to = masters.into_iter().find(|node| node.address() != owner).unwrap();
    let moving = block_in_place(|| nodes.begin_move(slot, to));
    limiter.check("k", "r").await.unwrap(); // sends ASKING
    block_in_place(|| moving.move_keys());
    limiter.check("k", "r").await.unwrap();
    block_in_place(|| moving.finish());
    limiter.check("k", "r").await.unwrap();
}
