//! Allow lists and deny lists that several servers share.

mod common;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use common::{cluster, limiter, rule, standalone};
use throttle_core::{Entry, Error, Key, Limiter, ListMatch};
use throttle_testbed::{Cluster, Server};

const A_SECOND: Duration = Duration::from_secs(1);

async fn until<'k>(limiter: &Limiter, key: impl Into<Key<'k>>, allowed: bool) -> Duration {
    let (key, began) = (key.into(), Instant::now());
    while limiter.check(&key, "r").await.expect("Redis answers").is_allowed() != allowed {
        assert!(began.elapsed() < 3 * A_SECOND, "{key} is never {allowed}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_the_deny_list_is_in_force_on_all_servers_within_a_second() {
    let server = Server::start();
    let one = limiter(&standalone(&server).await, [rule("r", 1_000_000)]);
    let two = limiter(&standalone(&server).await, [rule("r", 1_000_000)]);
    let lists = one.shared_lists().await.unwrap();
    two.shared_lists().await.unwrap();

    lists.deny_for("203.0.113.9", Duration::from_millis(1_500)).await.unwrap();
    let began = Instant::now();
    assert!(
        !one.check("203.0.113.9", "r").await.unwrap().is_allowed(),
        "it is in force here at once"
    );
    assert!(until(&two, "203.0.113.9", false).await < A_SECOND);
    let denial = two.check("203.0.113.9", "r").await.unwrap();
    assert_eq!(denial.listed(), Some(ListMatch::Denied));
    assert!(denial.retry_after().unwrap() <= Duration::from_millis(1_500));
    until(&two, "203.0.113.9", true).await;
    let lasted = began.elapsed();
    assert!(lasted > Duration::from_millis(1_400) && lasted < 3 * A_SECOND, "{lasted:?}");

    lists.deny("198.51.100.0/24").await.unwrap();
    lists.deny("user:42").await.unwrap();
    assert!(until(&two, "198.51.100.77", false).await < A_SECOND);
    assert!(until(&two, "user:42", false).await < A_SECOND);
    assert!(lists.remove_denied("198.51.100.0/24").await.unwrap());
    assert!(!lists.remove_denied("198.51.100.0/24").await.unwrap());
    assert!(until(&two, "198.51.100.77", true).await < A_SECOND);
    assert_eq!(lists.entries().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_network_is_allowed_on_all_servers_without_charges() {
    let nodes = Cluster::builder().without_replicas().start();
    let one = limiter(&cluster(&nodes).await, [rule("r", 1)]);
    let two = limiter(&cluster(&nodes).await, [rule("r", 1)]);
    one.shared_lists().await.unwrap().allow("10.0.0.0/8").await.unwrap();
    two.shared_lists().await.unwrap(); // a later server reads the existing entries
    for _ in 0..3 {
        let decision = two.check(IpAddr::from([10, 1, 2, 3]), "r").await.unwrap();
        assert_eq!((decision.is_allowed(), decision.listed()), (true, Some(ListMatch::Allowed)));
    }
    assert_eq!(two.status().allow_list, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_client_chose_is_denied_literally_and_no_other_key_is() {
    let server = Server::start();
    let one = limiter(&standalone(&server).await, [rule("r", 1_000_000)]);
    let two = limiter(&standalone(&server).await, [rule("r", 1_000_000)]);
    let lists = one.shared_lists().await.unwrap();
    two.shared_lists().await.unwrap();
    let client = Key::from(IpAddr::from([192, 0, 2, 1]));
    let long = vec![0xff; 1_000];
    let chosen: [&[u8]; 9] =
        [b"0.0.0.0/0", b"192.0.2.1", b"a b", b"100%", b"", b"10.0.0.*", b"key:x", b"\xff\0", &long];
    for key in chosen.map(Key::from) {
        let second = Duration::from_secs(60);
        lists.deny_for(&key, second).await.unwrap();
        assert!(until(&two, &key, false).await < A_SECOND);
        for limiter in [&one, &two] {
            assert!(limiter.check(&client, "r").await.unwrap().is_allowed(), "next to {key}");
            assert!(!limiter.check(&key, "r").await.unwrap().is_allowed(), "{key}");
        }
        assert_eq!(lists.entries().await.unwrap()[0].entry, Entry::from(&key));
        assert!(lists.remove_denied(&key).await.unwrap(), "{key}");
        assert!(one.check(&key, "r").await.unwrap().is_allowed(), "{key}");
    }
    lists.deny(Entry::all_ipv4()).await.unwrap();
    assert!(!one.check(&client, "r").await.unwrap().is_allowed(), "an explicit entry for all");
    lists.remove_denied(Entry::all_ipv4()).await.unwrap();
    lists.deny(&client).await.unwrap();
    lists.deny(IpAddr::from([192, 0, 2, 2])).await.unwrap();
    lists.deny(Entry::network([198, 51, 100, 9].into(), 24).unwrap()).await.unwrap();
    for denied in [[192, 0, 2, 1], [192, 0, 2, 2], [198, 51, 100, 200]] {
        until(&two, IpAddr::from(denied), false).await;
    }
    // Another spelling is the same entry.
    assert!(lists.remove_denied("198.51.100.77/24").await.unwrap());
    assert!(lists.remove_denied("::ffff:192.0.2.2").await.unwrap());
    assert!(lists.remove_denied(&client).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_stay_in_force_while_redis_is_down() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, [rule("r", 1_000)]);
    let lists = limiter.shared_lists().await.unwrap();
    lists.deny("user:1").await.unwrap();
    server.kill();
    tokio::time::sleep(A_SECOND).await;
    assert!(!limiter.check("user:1", "r").await.unwrap().is_allowed());
    assert!(lists.deny("user:2").await.is_err());
    let metrics = limiter.metrics().shared_lists.unwrap();
    assert!(metrics.errors > 0 && metrics.age.unwrap() > A_SECOND / 2, "{metrics:?}");
    server.restart(); // empty: nothing is saved
    until(&limiter, "user:1", true).await;
    let metrics = limiter.metrics().shared_lists.unwrap();
    assert!(metrics.age.unwrap() < A_SECOND, "{metrics:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_expire_with_their_entries_and_the_subscriptions_end_with_their_limiter() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, [rule("r", 1_000)]);
    let lists = limiter.shared_lists().await.unwrap();
    lists.deny_for("user:1", Duration::from_millis(300)).await.unwrap();
    lists.deny_for("user:2", Duration::from_millis(600)).await.unwrap();
    tokio::time::sleep(A_SECOND).await;
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0);
    drop((lists, limiter));
    tokio::time::sleep(A_SECOND).await;
    let clients = server.command(&["CLIENT", "LIST", "TYPE", "normal"]).to_string();
    assert_eq!(
        clients.matches("lib-name=ratethrottle").count() + clients.matches("cmd=eval").count(),
        0,
        "{clients}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_entry_is_rejected() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, [rule("r", 1_000)]);
    let lists = limiter.shared_lists().await.unwrap();
    for entry in ["", "10.0.0.0/99", " x", "0.0.0.0/0", "203.0.113.9:51234", "10.0.0.*"] {
        assert!(matches!(lists.deny(entry).await, Err(Error::InvalidEntry(_))), "{entry}");
    }
}
