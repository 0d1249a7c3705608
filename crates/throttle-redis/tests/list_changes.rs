//! The copies of large shared lists, and their updates.

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use common::{limiter, rule, sentinel, standalone};
use throttle_core::{Entry, Limiter, ListMatch, SharedLists};
use throttle_testbed::{Sentinels, Server};
use tokio::task::block_in_place;

const SOON: Duration = Duration::from_secs(10);
const ALLOW: &str = "ratethrottle:{%lists}:allow";
const DENY: &str = "ratethrottle:{%lists}:deny";
const CHANGES: &str = "ratethrottle:{%lists}:changes";

/// Adds entries without the script, so that servers with a copy do not see them.
fn fill(server: &Server, count: usize) {
    let script =
        "for i = ARGV[1] + 1, ARGV[2] do redis.call('ZADD', KEYS[1], 'inf', 'key:user:' .. i) end";
    for first in (0..count).step_by(20_000) {
        let numbers = [first, (first + 20_000).min(count)].map(|number| number.to_string());
        server.command(&["EVAL", script, "1", DENY, &numbers[0], &numbers[1]]);
    }
}

async fn start(server: &Server) -> (Limiter, SharedLists) {
    let limiter = limiter(&standalone(server).await, [rule("r", 1_000_000)]);
    let lists = limiter.shared_lists().await.expect("the lists are read");
    (limiter, lists)
}

async fn is_allowed(limiter: &Limiter, key: &str) -> bool {
    limiter.check(key, "r").await.expect("Redis answers").is_allowed()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < SOON, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn sent_bytes(server: &Server) -> u64 {
    let stats = server.command(&["INFO", "stats"]).to_string();
    let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).expect("Redis reports its output")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_of_a_large_list_only_the_change_is_read() {
    let server = Server::start();
    let (one, lists) = start(&server).await;
    for n in 0..500 {
        lists.deny(&format!("user:{n}")).await.unwrap();
    }
    let (two, _) = start(&server).await;
    let before = sent_bytes(&server);
    for n in 0..20 {
        let entry = format!("new:{n}");
        lists.deny(&entry).await.unwrap();
        assert!(!is_allowed(&one, &entry).await, "it is in force here at once");
        until(&entry, async || !is_allowed(&two, &entry).await).await;
        assert!(lists.remove_denied(&entry).await.unwrap());
        assert!(is_allowed(&one, &entry).await);
    }
    until("all are removed", async || two.status().deny_list == 500).await;
    // A read of all entries would be some 20 KB, for each of 40 changes and two servers.
    let sent = sent_bytes(&server) - before;
    assert!(sent < 400_000, "{sent} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_expires_on_all_servers_and_a_new_expiry_replaces_the_old_one() {
    let server = Server::start();
    let ((_, lists), (two, _)) = (start(&server).await, start(&server).await);
    let ms = Duration::from_millis;
    lists.deny("forever").await.unwrap();
    lists.deny_for("short", ms(1_500)).await.unwrap();
    lists.deny_for("prolonged", ms(1_500)).await.unwrap();
    lists.deny_for("prolonged", ms(60_000)).await.unwrap();
    lists.deny("cut").await.unwrap();
    lists.deny_for("cut", ms(1_500)).await.unwrap();
    lists.deny_for("no time", Duration::ZERO).await.unwrap();
    until("all are known", async || two.status().deny_list == 4).await;
    until("two end", async || two.status().deny_list == 2).await;
    for (key, allowed) in [("forever", false), ("prolonged", false), ("short", true), ("cut", true)]
    {
        assert_eq!(is_allowed(&two, key).await, allowed, "{key}");
    }
    assert!(!lists.remove_denied("short").await.unwrap(), "an expired entry does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_missed_changes_reads_all_entries_again() {
    let server = Server::start();
    let (one, lists) = start(&server).await;
    lists.deny("old").await.unwrap();
    // The stream loses the last known change together with the missed ones.
    let script = "redis.call('ZREM', KEYS[1], 'key:old')
        redis.call('ZADD', KEYS[1], 'inf', 'key:missed')
        redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', 'list', '2', 'entry', 'key:latest', 'ends', 'inf')
        redis.call('ZADD', KEYS[1], 'inf', 'key:latest')";
    server.command(&["EVAL", script, "2", DENY, CHANGES]);
    until("it is denied", async || !is_allowed(&one, "missed").await).await;
    assert!(is_allowed(&one, "old").await && !is_allowed(&one, "latest").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_failover_lost_is_reverted() {
    let server = Server::start();
    let (one, lists) = start(&server).await;
    lists.deny("kept").await.unwrap();
    lists.deny("lost").await.unwrap();
    // Like a replica that did not receive the last change, and has another one since.
    let script = "local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1][1]
        redis.call('XDEL', KEYS[2], last)
        redis.call('ZREM', KEYS[1], 'key:lost')
        redis.call('ZADD', KEYS[1], 'inf', 'key:other')
        redis.call('XADD', KEYS[2], '*', 'list', '2', 'entry', 'key:other', 'ends', 'inf')";
    server.command(&["EVAL", script, "2", DENY, CHANGES]);
    until("the lost entry is removed", async || is_allowed(&one, "lost").await).await;
    assert!(!is_allowed(&one, "kept").await && !is_allowed(&one, "other").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_redis_empties_the_lists() {
    let server = Server::start();
    let ((one, lists), (two, _)) = (start(&server).await, start(&server).await);
    for n in 0..20 {
        lists.deny(&format!("before:{n}")).await.unwrap();
    }
    until("it is known", async || !is_allowed(&two, "before:0").await).await;
    server.kill();
    server.restart(); // empty: nothing is saved
    until("Redis answers again", async || lists.deny("after").await.is_ok()).await;
    for limiter in [&one, &two] {
        until("it is denied", async || {
            limiter.check("after", "r").await.is_ok_and(|d| !d.is_allowed())
        })
        .await;
        assert!(is_allowed(limiter, "before:0").await);
        assert_eq!(limiter.status().deny_list, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_new_master_has_the_lists() {
    let sentinels = block_in_place(Sentinels::start);
    let limiter = limiter(&sentinel(&sentinels).await, [rule("r", 1_000_000)]);
    let lists = limiter.shared_lists().await.unwrap();
    lists.deny("before").await.unwrap();
    sentinels.master().command(&["WAIT", "1", "5000"]);
    block_in_place(|| sentinels.failover());
    let denied = async |key| limiter.check(key, "r").await.is_ok_and(|d| !d.is_allowed());
    // A change on the old master during the failover is lost, so several attempts may be needed.
    until("the new master has both entries", async || {
        lists.deny("after").await.is_ok() && denied("before").await && denied("after").await
    })
    .await;
    assert!(lists.remove_denied("before").await.unwrap());
    assert!(is_allowed(&limiter, "before").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_change_the_same_entries_concurrently_converge() {
    let server = Server::start();
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(start(&server).await);
    }
    let tasks = servers.iter().enumerate().map(|(n, (_, lists))| {
        let lists = lists.clone();
        tokio::spawn(async move {
            for round in 0..100 {
                let entry = format!("user:{}", round % 7);
                match (round + n) % 3 {
                    0 => lists.deny(&entry).await.unwrap(),
                    1 => lists.deny_for(&entry, SOON * 60).await.unwrap(),
                    _ => drop(lists.remove_denied(&entry).await.unwrap()),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let entries = servers[0].1.entries().await.unwrap();
    for (limiter, lists) in &servers {
        lists.refresh().await.unwrap();
        assert_eq!(limiter.status().deny_list, entries.len());
        for n in 0..7 {
            let key = format!("user:{n}");
            let is_denied = entries.iter().any(|entry| entry.entry == Entry::key(&key));
            assert_eq!(is_allowed(limiter, &key).await, !is_denied, "{key} of {entries:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_read_during_changes_has_the_final_entries() {
    const ENTRIES: usize = 20_000;
    let server = Server::start();
    fill(&server, ENTRIES);
    let (_, lists) = start(&server).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let (changing, done) = (lists.clone(), Arc::clone(&is_done));
    let changes = tokio::spawn(async move {
        let mut n = 0;
        while !done.load(Relaxed) {
            n += 1;
            // All over the list: removals, additions, and moves to the front of the order and back.
            changing.remove_denied(&format!("user:{}", n * 7 % ENTRIES + 1)).await.unwrap();
            changing.deny(&format!("new:{n}")).await.unwrap();
            let moved = format!("user:{}", n * 11 % ENTRIES + 1);
            changing.deny_for(&moved, SOON * 60).await.unwrap();
            if n % 2 == 0 {
                changing.deny(&moved).await.unwrap();
            }
        }
    });
    let mut copies = Vec::new();
    for _ in 0..3 {
        copies.push(start(&server).await);
    }
    is_done.store(true, Relaxed);
    changes.await.unwrap();
    let entries = lists.entries().await.unwrap();
    let in_redis = server.command(&["ZCARD", DENY]).integer();
    assert_eq!(entries.len() as i64, in_redis);
    for (limiter, lists) in &copies {
        lists.refresh().await.unwrap();
        assert_eq!(limiter.status().deny_list, entries.len());
        for entry in entries.iter().step_by(97).map(|entry| entry.entry.to_string()) {
            assert!(limiter.deny_list().contains(&entry), "{entry}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_contain_all_entries_for_any_expiry_and_length() {
    let server = Server::start();
    let (_, lists) = start(&server).await;
    let mut expected = BTreeSet::new();
    for n in 0..1_200_usize {
        // Entries of some 700 bytes, so that a page ends before 500 entries. Many have the same expiry.
        let entry = format!("{n:0>200}{}", "%".repeat(n % 55)).replace('%', "\u{e9}");
        let ends =
            if n % 3 == 0 { "inf".to_owned() } else { (9_999_999_990_000 + n % 2).to_string() };
        let list = if n % 2 == 0 { ALLOW } else { DENY };
        server.command(&["ZADD", list, &ends, &Entry::key(&entry).encode()]);
        expected.insert((n % 2, Entry::key(&entry).encode()));
    }
    let read = lists.entries().await.unwrap();
    let number = |list| usize::from(list == ListMatch::Denied);
    let read_set: BTreeSet<_> =
        read.iter().map(|entry| (number(entry.list), entry.entry.encode())).collect();
    assert_eq!(read_set.len(), read.len());
    assert!(read_set == expected, "{} of {}", read_set.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_and_their_changes_are_bounded() {
    let server = Server::start();
    let (one, lists) = start(&server).await;
    let script = "for i = 1, 20000 do
            redis.call('XADD', KEYS[1], '*', 'list', '2', 'entry', 'key:user:1', 'ends', '0')
        end";
    server.command(&["EVAL", script, "1", CHANGES]);
    lists.deny("user:0").await.unwrap();
    let kept = server.command(&["XLEN", CHANGES]).integer();
    assert!((10_000..10_200).contains(&kept), "{kept}");

    fill(&server, 500_000 - 1);
    let error = lists.deny("one:more").await.unwrap_err().to_string();
    assert!(error.contains("500000 entries") && error.contains("Remove entries"), "{error}");
    assert!(lists.allow("one:more").await.is_err(), "the limit applies to both lists together");
    assert!(is_allowed(&one, "one:more").await);
    // Entries can still be changed and removed, and expired entries make room.
    lists.deny_for("user:1", Duration::from_millis(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    lists.deny("one:more").await.unwrap();
    assert!(lists.deny("two:more").await.is_err());
    assert!(lists.remove_denied("user:2").await.unwrap());
    lists.deny("two:more").await.unwrap();
    assert!(!is_allowed(&one, "two:more").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_entry_in_redis_does_not_affect_the_others() {
    let server = Server::start();
    server.command(&[
        "ZADD",
        DENY,
        "inf",
        "user:old-form",
        "inf",
        "",
        "inf",
        "key:%",
        "inf",
        "key:user:1",
    ]);
    let script = "redis.call('ZADD', KEYS[1], 'inf', '\u{e9}\\255')";
    server.command(&["EVAL", script, "1", DENY]);
    let (one, lists) = start(&server).await;
    assert!(!is_allowed(&one, "user:1").await && is_allowed(&one, "user:old-form").await);
    assert_eq!(lists.entries().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_cannot_be_read_at_first_are_read_as_soon_as_possible() {
    let server = Server::start();
    start(&server).await.1.deny("user:1").await.unwrap();
    let limiter = limiter(&standalone(&server).await, [rule("r", 1_000_000)]);
    assert_eq!(limiter.metrics().shared_lists, None);
    server.command(&["RENAME", DENY, "elsewhere"]);
    server.command(&["SET", DENY, "not a list"]);
    assert!(limiter.shared_lists().await.is_err());
    let metrics = limiter.metrics().shared_lists.unwrap();
    assert!(metrics.age.is_none() && metrics.errors > 0, "{metrics:?}");
    server.command(&["RENAME", "elsewhere", DENY]);
    until("it is denied", async || !is_allowed(&limiter, "user:1").await).await;
    assert!(limiter.metrics().shared_lists.unwrap().age.is_some());
}
