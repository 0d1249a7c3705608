//! Failures of one server: an error with its cause and advice, and then recovery.

mod common;

use std::time::{Duration, Instant};

use common::{fixed, limiter, rule, standalone, storm, until_answered};
use throttle_core::{Algorithm, AtomicStorage, Effect, Error, Limiter, Rule, Storage, Wrapper};
use throttle_redis::RedisStorage;
use throttle_testbed::{Faults, Proxy, Server};

const SOON: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_requests_are_answered_again() {
    let server = Server::start();
    let storage = standalone(&server).await;
    let limiter = limiter(&storage, [rule("r", 1_000_000)]);
    limiter.check("k", "r").await.unwrap();
    server.kill();
    let error = limiter.check("k", "r").await.unwrap_err().to_string();
    assert!(error.contains(&server.address()), "{error}");
    server.restart();
    until_answered(&limiter, "k", "r", SOON).await;
    assert!(storage.stats().reconnects >= 1, "{:?}", storage.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_down_for_long_requests_fail_at_once() {
    let server = Server::start();
    let storage = standalone(&server).await;
    let limiter = limiter(&storage, [rule("r", 10)]);
    server.kill();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let tally = storm(&limiter, "k", &["r"], 4, 25).await;
    assert_eq!(tally.failed(), 100);
    assert!(tally.longest() < Duration::from_millis(100), "{:?}", tally.longest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_script_is_loaded_again_without_an_error() {
    let server = Server::start();
    // One connection, because others that are still being established would load the script, too.
    let builder = RedisStorage::builder(&server.url()).max_connections(1);
    let storage = builder.connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 1_000)]);
    for round in 1..=3 {
        server.command(&["SCRIPT", "FLUSH"]);
        assert!(limiter.check("k", "r").await.unwrap().is_allowed());
        assert_eq!(storage.stats().script_reloads, round);
    }
    server.command(&["SCRIPT", "FLUSH"]);
    let tally = storm(&limiter, "k", &["r"], 64, 10).await;
    assert_eq!((tally.allowed(), tally.failed()), (640, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_script_is_loaded_on_connect_and_again_after_a_flush() {
    let server = Server::start();
    for (retries, flush) in [(0, false), (0, true), (10, true)] {
        let builder = RedisStorage::builder(&server.url()).max_connections(1).retries(retries);
        let storage = builder.connect().await.unwrap();
        let limiter = limiter(&storage, [rule("r", 1_000)]);
        let (lists, uploads) =
            (limiter.shared_lists().await.unwrap(), limiter.concurrency("uploads", 9).unwrap());
        let mut flushes = 0;
        let mut lose_scripts = || {
            if flush {
                server.command(&["SCRIPT", "FLUSH"]);
                flushes += 1;
            }
        };
        lose_scripts();
        limiter.check("k", "r").await.unwrap();
        lose_scripts();
        storage.increment("n", 1, Some(SOON)).await.unwrap();
        lose_scripts();
        lists.allow("user:1").await.unwrap();
        lose_scripts();
        drop(uploads.try_acquire("k").await.unwrap());
        assert!(storage.stats().script_reloads >= flushes, "{:?}", storage.stats());
        assert_eq!(storage.stats().script_reloads == 0, flushes == 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_are_replaced_in_the_background() {
    let server = Server::start();
    for resp3 in [true, false] {
        let storage = RedisStorage::builder(&server.url()).resp3(resp3).connect().await.unwrap();
        let limiter = limiter(&storage, [rule("r", 1_000_000)]);
        limiter.check("k", "r").await.unwrap();
        for _ in 0..5 {
            server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            until_answered(&limiter, "k", "r", SOON).await;
        }
        assert!(storage.stats().reconnects >= 5, "{:?}", storage.stats());
        assert!(storage.stats().connections <= storage.stats().max_connections);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_for_any_number_of_tasks() {
    let server = Server::start();
    let before = clients(&server);
    let storage = RedisStorage::builder(&server.url()).max_connections(2).connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 1_000_000)]);
    storm(&limiter, "k", &["r"], 256, 20).await;
    assert!(clients(&server) <= before + 2, "{}", clients(&server));
    let made = server.command(&["INFO", "stats"]).to_string();
    let line = made.lines().find(|line| line.starts_with("total_connections_received:"));
    let made: u64 = line.and_then(|line| line.split(':').nth(1)?.trim().parse().ok()).unwrap();
    assert!(made < 100, "{made} connections for 5,120 requests");
    drop((limiter, storage));
    let mut attempts = 100;
    while clients(&server) > before && attempts > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        attempts -= 1;
    }
    assert_eq!(clients(&server), before, "connections outlive their storage");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_four_connections_are_opened_even_if_more_are_allowed() {
    let server = Server::start();
    let storage = RedisStorage::builder(&server.url()).max_connections(50).connect().await.unwrap();
    storm(&limiter(&storage, [rule("r", 1_000_000)]), "k", &["r"], 256, 20).await;
    assert!(clients(&server) <= 4, "{}", clients(&server));
    assert_eq!(storage.stats().max_connections, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_resp3_a_closed_connection_is_detected_without_a_request() {
    let server = Server::start();
    let storage = RedisStorage::builder(&server.url()).max_connections(1).connect().await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let mut attempts = 100;
    while storage.stats().reconnects == 0 {
        assert!(attempts > 0, "{:?}", storage.stats());
        attempts -= 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_hangs_is_replaced_even_if_callers_have_shorter_deadlines() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let storage = RedisStorage::builder(&format!("redis://{}", proxy.address()))
        .max_connections(2)
        .connect()
        .await
        .unwrap();
    let limiter = limiter(&storage, [rule("r", 1_000_000)]);
    // Open connections hang forever, as if a router had lost their state.
    proxy.set(Faults { hold_requests: true, ..Faults::default() }).await;
    let began = Instant::now();
    let ask = async || {
        let asked = tokio::time::timeout(Duration::from_millis(50), limiter.check("k", "r")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        asked
    };
    while storage.stats().connections > 0 {
        let _ = ask().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", storage.stats());
    }
    assert!(storage.stats().late_answers > 0, "{:?}", storage.stats());
    proxy.heal().await;
    while !matches!(ask().await, Ok(Ok(_))) {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", storage.stats());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_hang_are_closed_with_their_storage() {
    let server = Server::start();
    let storage = RedisStorage::builder(&server.url()).max_connections(1).connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 1_000_000)]);
    assert_eq!(connected_to(&server), 1);
    server.pause();
    let asked = storm(&limiter, "k", &["r"], 8, 1).await; // one alone, the others in a batch
    assert_eq!((asked.failed(), connected_to(&server)), (8, 1));
    drop((limiter, storage));
    let dropped = Instant::now();
    while connected_to(&server) > 0 {
        assert!(dropped.elapsed() < SOON, "the connection outlives its storage");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the number of sockets on this machine that are connected to a server, from Linux' `/proc`.
fn connected_to(server: &Server) -> usize {
    let port = format!(":{:04X}", server.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("tests run on Linux");
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|to| to.ends_with(&port)) && words.next() == Some("01")
    };
    table.lines().filter(is_one).count()
}

fn clients(server: &Server) -> usize {
    let list = server.command(&["CLIENT", "LIST", "TYPE", "normal"]).to_string();
    list.lines()
        .filter(|line| line.contains("lib-name=ratethrottle") || line.contains("addr=127"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_fail_at_once_and_are_not_charged_while_the_queue_is_full() {
    const ASKED: u64 = 40_000; // 32 batches of 512 in flight, 16,384 in the queue, and one alone
    const LIMIT: u64 = 1_000_000;
    let server = Server::start();
    let builder = RedisStorage::builder(&server.url()).max_connections(1);
    let storage = builder.response_timeout(Duration::from_secs(60)).connect().await.unwrap();
    let limiter = limiter(&storage, [fixed("r", LIMIT)]);
    server.pause();
    let asking: Vec<_> = (0..ASKED)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.check("k", "r").await })
        })
        .collect();
    let mut attempts = 1_000;
    while storage.stats().overloads < ASKED - 32 * 512 - 16_384 - 1 {
        assert!(attempts > 0, "{:?}", storage.stats());
        attempts -= 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.resume();
    let (mut allowed, mut failed) = (0, 0);
    for one in asking {
        match one.await.unwrap() {
            Ok(decision) => allowed += u64::from(decision.is_allowed()),
            Err(Error::Storage(error)) => {
                assert_eq!(error.effect(), Effect::None, "{error}");
                assert!(error.to_string().contains("is overloaded"), "{error}");
                failed += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((allowed + failed, failed), (ASKED, storage.stats().overloads));
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), LIMIT - allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_an_error_within_the_timeout_and_then_answers_again() {
    let server = Server::start();
    let storage = RedisStorage::builder(&server.url())
        .response_timeout(Duration::from_millis(200))
        .connect_timeout(Duration::from_millis(300))
        .connect()
        .await
        .unwrap();
    let limiter = limiter(&storage, [rule("r", 1_000_000)]);
    limiter.check("k", "r").await.unwrap();
    server.pause();
    let tally = storm(&limiter, "k", &["r"], 8, 5).await;
    assert_eq!(tally.failed(), 40);
    assert!(tally.longest() < Duration::from_millis(300), "{:?}", tally.longest());
    server.resume();
    until_answered(&limiter, "k", "r", SOON).await;
    assert!(storage.stats().late_answers >= 1, "{:?}", storage.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn flushall_only_resets_the_counts() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, [fixed("r", 1)]);
    assert!(limiter.check("k", "r").await.unwrap().is_allowed());
    assert!(!limiter.check("k", "r").await.unwrap().is_allowed());
    server.command(&["FLUSHALL"]);
    assert!(limiter.check("k", "r").await.unwrap().is_allowed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_another_program_is_an_error_and_stays() {
    let server = Server::start();
    let storage = standalone(&server).await;
    for algorithm in Algorithm::ALL {
        let limiter = limiter(&storage, [Rule::per_minute("r", 10).algorithm(algorithm)]);
        let key = "ratethrottle:{k}:r";
        let writes: [&[&[u8]]; 6] = [
            &[b"SET", key.as_bytes(), b"hello"],
            &[b"SET", key.as_bytes(), b""],
            &[b"SET", key.as_bytes(), &[1, 255, 255, 255, 255, 255, 255, 255, 255]],
            &[b"RPUSH", key.as_bytes(), b"not", b"ours"],
            &[b"HSET", key.as_bytes(), b"a", b"b"],
            &[b"SADD", key.as_bytes(), b"a"],
        ];
        for write in writes {
            server.command(write);
            let before = server.command(&[b"DUMP", key.as_bytes()]);
            for error in [
                limiter.check("k", "r").await.map(|_| ()),
                limiter.peek("k", "r").await.map(|_| ()),
                limiter.refund("k", "r", 1).await,
            ] {
                let error = error.expect_err("it is not a state").to_string();
                assert!(error.contains("prefix") && error.len() < 600, "{algorithm}: {error}");
            }
            assert_eq!(server.command(&[b"DUMP", key.as_bytes()]), before, "{algorithm}");
            limiter.reset("k", "r").await.unwrap();
            assert!(limiter.check("k", "r").await.unwrap().is_allowed(), "{algorithm}");
            limiter.reset("k", "r").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_memory_is_an_error_that_names_maxmemory() {
    let server = Server::builder()
        .option("maxmemory", "1mb")
        .option("maxmemory-policy", "noeviction")
        .start();
    let storage = standalone(&server).await;
    let limiter = limiter(&storage, [fixed("r", 5)]);
    let error = limiter.check("k", "r").await.unwrap_err().to_string();
    assert!(error.contains("maxmemory"), "{error}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(limiter.check("k", "r").await.unwrap().is_allowed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica_is_reported_as_such() {
    let master = Server::start();
    let replica = Server::start();
    replica.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let storage = RedisStorage::builder(&replica.url()).response_timeout(SOON);
    let limiter = limiter(&storage.connect().await.unwrap(), [rule("r", 10)]);
    // Each time the connections are replaced, most of which have not answered any request.
    for _ in 0..8 {
        let error = limiter.check("k", "r").await.unwrap_err().to_string();
        assert!(error.contains("READONLY") && error.contains("Sentinel"), "{error}");
    }
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    until_answered(&limiter, "k", "r", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_removes_only_keys_with_the_prefix() {
    let server = Server::start();
    let open = |prefix: &'static str| {
        let builder = RedisStorage::builder(&server.url()).key_prefix(prefix);
        async move { builder.connect().await.unwrap() }
    };
    for (ours, theirs) in [("a*:", "abc:"), ("a?:", "ab:"), ("[ab]:", "a:"), ("app:", "apple:")] {
        let (ours, theirs) = (open(ours).await, open(theirs).await);
        for i in 0..2_500 {
            ours.set(&format!("{i}"), "x".into(), None).await.unwrap();
        }
        limiter(&ours, [rule("r", 10)]).check("k", "r").await.unwrap();
        theirs.set("x", "stays".into(), None).await.unwrap();
        server.command(&["SET", "foreign", "stays"]);
        assert_eq!(ours.clear().await.unwrap(), 2_501);
        assert_eq!(ours.clear().await.unwrap(), 0);
        assert!(theirs.exists("x").await.unwrap());
        assert_eq!(server.command(&["GET", "foreign"]).to_string(), "stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_has_a_lifetime_and_all_keys_expire() {
    let server = Server::start();
    let storage = standalone(&server).await;
    let rules = Algorithm::ALL.map(|algorithm| {
        let rule = Rule::new(algorithm.as_str(), 5, Duration::from_millis(700));
        rule.algorithm(algorithm).block(Duration::from_millis(900))
    });
    let limiter = limiter(&storage, rules);
    let mut tasks = Vec::new();
    for task in 0..50 {
        let limiter = limiter.clone();
        tasks.push(tokio::spawn(async move {
            for i in 0..100 {
                let key = format!("{}", (task * 100 + i) % 1_500);
                for algorithm in Algorithm::ALL {
                    limiter.check(&key[..], algorithm.as_str()).await.unwrap();
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let keyspace = server.command(&["INFO", "keyspace"]).to_string();
    if let Some(line) = keyspace.lines().find(|line| line.starts_with("db0:")) {
        let number = |name: &str| {
            line.split([',', ':']).find_map(|part| part.strip_prefix(name)).map(str::to_owned)
        };
        assert_eq!(number("keys="), number("expires="), "{line}");
    }
    let mut attempts = 100;
    while server.command(&["DBSIZE"]).integer() > 0 {
        assert!(attempts > 0, "{} keys are left", server.command(&["DBSIZE"]));
        attempts -= 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_of_the_client_is_sent_to_the_server() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, [rule("r", 1_000)]);
    // Only the clock of Redis counts, so that servers with clocks an hour apart agree.
    let seconds = |text: String| text.lines().next().unwrap().parse::<u64>().unwrap();
    let before = seconds(server.command(&["TIME"]).to_string());
    limiter.check("k", "r").await.unwrap();
    server.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    limiter.check("k", "r").await.unwrap();
    let log = server.command(&["SLOWLOG", "GET", "10"]).to_string();
    server.command(&["CONFIG", "SET", "slowlog-log-slower-than", "10000"]);
    assert!(log.to_lowercase().contains("evalsha"), "{log}");
    let early = format!("{}", before / 1000); // the first digits of the current time in any unit
    let arguments = log.lines().filter(|line| line.contains(&early) && line.len() > 13);
    assert_eq!(arguments.count(), 0, "{log}");
}

#[derive(Clone)]
struct Wrapped(std::sync::Arc<dyn AtomicStorage>);

impl Wrapper for Wrapped {
    fn inner(&self) -> &std::sync::Arc<dyn AtomicStorage> {
        &self.0
    }
}

#[tokio::test]
async fn a_log_that_would_block_redis_is_an_error_when_the_rule_is_added() {
    let server = Server::start();
    let storage = standalone(&server).await;
    let log = |limit| Rule::per_day("log", limit).algorithm(Algorithm::SlidingWindowLog);
    let wrapped = Wrapped(std::sync::Arc::new(storage.clone()));
    for limiter in [Limiter::new(storage), Limiter::new(wrapped)] {
        for result in [
            limiter.add_rule(log(10_001)),
            limiter.add_rule(log(1_000_000)),
            limiter.replace_rule(log(10_001)).map(|_| ()),
        ] {
            let text = result.unwrap_err().to_string();
            assert!(text.contains("from 1 to 10000") && text.contains("redis"), "{text}");
        }
        limiter.add_rule(log(10_000)).unwrap();
        assert!(limiter.check("k", "log").await.unwrap().is_allowed());
    }
}
