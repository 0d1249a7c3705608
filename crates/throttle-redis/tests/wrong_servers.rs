//! Servers that close connections, send invalid or endless answers, or are not Redis.

mod common;

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use common::{
    fake_server::{Answer, FakeServer},
    limiter, rule,
};
use throttle_core::{Effect, Error, Rule};
use throttle_redis::{RedisStorage, RedisStorageBuilder};
use throttle_testbed::Server;

fn builder(server: &FakeServer) -> RedisStorageBuilder {
    RedisStorage::builder(&format!("redis://{}", server.address))
}

/// Returns the normal answer to a command, or `None` for a script call.
fn handshake(command: &str) -> Option<Answer> {
    match command.split(' ').next()? {
        "EVALSHA" => None,
        "HELLO" => Some(Answer::Text("%1\r\n+proto\r\n:3\r\n")),
        "PING" => Some(Answer::Text("+PONG\r\n")),
        _ => Some(Answer::Text("+OK\r\n")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_to_a_server_that_closes_at_each_script_back_off_and_the_error_names_it() {
    let server = FakeServer::start(|command| handshake(command).unwrap_or(Answer::Close)).await;
    for resp3 in [true, false] {
        let before = server.connections();
        let storage = builder(&server).resp3(resp3).connect().await.unwrap();
        let limiter = limiter(&storage, [rule("r", 10)]);
        let began = Instant::now();
        let mut texts = String::new();
        while began.elapsed() < Duration::from_secs(3) {
            texts += &limiter.check("k", "r").await.unwrap_err().to_string();
            tokio::task::yield_now().await;
        }
        // Four connections, each after at least half of 20, 40 … 500 ms.
        let made = server.connections() - before;
        assert!(made <= 4 * (6 + 2 * 3 * 2), "{made} connections");
        assert!(made >= 8, "{made} connections: the attempts stopped");
        assert!(texts.contains("EVALSHA"), "{}", &texts[..500]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_to_a_server_that_answers_once_and_closes_back_off() {
    let server = FakeServer::start(|command| match handshake(command) {
        // It answers with an error, and then closes.
        None => Answer::Text("-ERR not today\r\n"),
        Some(_) if command.starts_with("PING") => Answer::Close,
        Some(answer) => answer,
    })
    .await;
    let storage = builder(&server).connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 10)]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let _ = limiter.check("k", "r").await;
        let _ = storage.ping().await;
    }
    let made = server.connections();
    assert!(made <= 4 * (6 + 2 * 2 * 2), "{made} connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_an_unknown_command_is_shown_for_rules_of_any_bytes() {
    let server = Server::builder().option("rename-command", "EVALSHA \"\"").start();
    let connections = || {
        let stats = server.command(&["INFO", "stats"]).to_string();
        let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    let storage = RedisStorage::connect(&server.url()).await.unwrap();
    let rules = (0..40).map(|i| {
        let limit = 1 + 3_u64.pow(i % 20) * u64::from(i);
        Rule::new(format!("r{i}"), limit, Duration::from_micros(1_000 + 977 * u64::from(i)))
    });
    let limiter = limiter(&storage, rules);
    let before = connections();
    for i in 0..40 {
        let error = limiter.check("k", &format!("r{i}")).await.unwrap_err();
        let Error::Storage(error) = error else { panic!("{error}") };
        let text = error.to_string();
        assert_eq!(error.effect(), Effect::None, "{text}");
        assert!(text.contains("unknown command 'EVALSHA'"), "{text}");
        assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{text}");
    }
    // This includes the connection that reads the statistics, and late connections of the pool.
    assert!(connections() - before < 10, "{} connections", connections() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_missing_after_each_load_is_loaded_with_a_backoff() {
    let loads = std::sync::Arc::new(std::sync::atomic::AtomicU64::default());
    let counted = std::sync::Arc::clone(&loads);
    let server = FakeServer::start(move |command| {
        counted.fetch_add(u64::from(command.starts_with("SCRIPT LOAD")), Relaxed);
        handshake(command).unwrap_or(Answer::Text("-NOSCRIPT No matching script.\r\n"))
    })
    .await;
    let builder = builder(&server).max_connections(1).retries(4);
    let storage = builder.response_timeout(Duration::from_secs(20)).connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 10)]);
    let (before, began) = (loads.load(Relaxed), Instant::now());
    let error = limiter.check("k", "r").await.unwrap_err().to_string();
    assert_eq!(loads.load(Relaxed) - before, 5, "the first load and four retries");
    // At least half of 10, 20, 40 and 80 ms.
    assert!(began.elapsed() >= Duration::from_millis(75), "{:?}", began.elapsed());
    assert!(error.contains("NOSCRIPT"), "{error}");
}

const ENDLESS: [(&str, &str); 7] = [
    ("$2000000000\r\n", "a"),
    ("+", "a"),
    ("-ERR ", "a"),
    (":", "1"),
    ("*2000000000\r\n", "_\r\n"),
    ("*2000000000\r\n", "$1\r\na\r\n"),
    ("!2000000000\r\n", "a"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_is_an_error_during_and_after_the_handshake() {
    for (beginning, again) in ENDLESS {
        for in_handshake in [true, false] {
            let server = FakeServer::start(move |command| {
                match handshake(command).filter(|_| !in_handshake) {
                    Some(answer) => answer,
                    None => Answer::Endless(beginning, again),
                }
            })
            .await;
            let builder = builder(&server).max_connections(1);
            let text = if in_handshake {
                builder.connect().await.unwrap_err().to_string()
            } else {
                let storage = builder.response_timeout(Duration::from_secs(20)).connect().await;
                let limiter = limiter(&storage.unwrap(), [rule("r", 10)]);
                limiter.check("k", "r").await.unwrap_err().to_string()
            };
            let sent = server.sent.load(Relaxed);
            let most = if in_handshake { 20 << 20 } else { 64 << 20 };
            assert!(sent <= most, "{beginning:?}: {sent} bytes");
            assert!(text.contains("a reply is larger than"), "{beginning:?}: {text}");
            assert!(text.len() < 1_000, "{beginning:?}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_of_a_sentinel_is_an_error() {
    for in_handshake in [true, false] {
        let server =
            FakeServer::start(move |command| match handshake(command).filter(|_| !in_handshake) {
                Some(_) if command == "ROLE" => Answer::Text("*2\r\n$8\r\nsentinel\r\n*0\r\n"),
                Some(_) if command == "SENTINEL MASTERS" => {
                    Answer::Endless("*9\r\n$999999999\r\n", "a")
                }
                Some(answer) => answer,
                None => Answer::Endless("$2000000000\r\n", "a"),
            })
            .await;
        let url = format!("redis+sentinel://{}/main", server.address);
        let text = RedisStorage::connect(&url).await.unwrap_err().to_string();
        assert!(text.contains("a reply is larger than"), "{text}");
        assert!(server.sent.load(Relaxed) <= 20 << 20, "{} bytes", server.sent.load(Relaxed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_with_a_thousand_masters_works() {
    let master = FakeServer::start(|command| match handshake(command) {
        Some(_) if command == "ROLE" => Answer::Text("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
        answer => answer.unwrap_or(Answer::Close),
    })
    .await;
    let port = master.address.rsplit(':').next().unwrap().to_owned();
    let sentinel = FakeServer::start(move |command| match handshake(command) {
        Some(_) if command == "ROLE" => Answer::Text("*2\r\n$8\r\nsentinel\r\n*0\r\n"),
        Some(_) if command == "SENTINEL MASTERS" => Answer::Bytes(masters(1_000, &port)),
        answer => answer.unwrap_or(Answer::Close),
    })
    .await;
    let url = format!("redis+sentinel://{}/main999", sentinel.address);
    RedisStorage::connect(&url).await.unwrap();
}

/// Returns a sentinel's answer about masters, each with 20 fields.
fn masters(count: usize, port: &str) -> Vec<u8> {
    let mut answer = format!("*{count}\r\n");
    for n in 0..count {
        answer += "*40\r\n";
        let name = format!("main{n}");
        let known = [("name", &name[..]), ("ip", "127.0.0.1"), ("port", port), ("flags", "master")];
        for (field, value) in known.into_iter().chain([("failover-timeout", "180000"); 16]) {
            for text in [field, value] {
                answer += &format!("${}\r\n{text}\r\n", text.len());
            }
        }
    }
    answer.into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_answer_of_the_list_script_is_an_error() {
    let server = FakeServer::start(|command| {
        handshake(command).unwrap_or(Answer::Text("*1\r\n$13\r\n1764547200000\r\n"))
    })
    .await;
    let storage = builder(&server).connect().await.unwrap();
    let error = limiter(&storage, []).shared_lists().await.unwrap_err().to_string();
    assert!(error.contains("no page"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_is_truncated_and_the_connection_stays_open() {
    let server = FakeServer::start(|command| {
        let long = || [&b"-ERR what "[..], &[b'x'; 20_000_000], b"\r\n"].concat();
        handshake(command).unwrap_or_else(|| Answer::Bytes(long()))
    })
    .await;
    let timeout = Duration::from_secs(20);
    let builder = builder(&server).max_connections(1).response_timeout(timeout);
    let storage = builder.connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 10)]);
    for _ in 0..3 {
        let error = limiter.check("k", "r").await.unwrap_err();
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            assert!(error.to_string().len() < 2_000 && format!("{error:?}").len() < 4_000);
            source = error.source();
        }
        assert!(error.to_string().contains("ERR what xxx"), "{error}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_an_answer_of_the_wrong_type_is_short() {
    let answers: [fn() -> Answer; 2] = [
        || Answer::Bytes([&b"$9000000\r\n"[..], &[b'x'; 9_000_000], b"\r\n"].concat()),
        || {
            Answer::Bytes(
                [&b"*3\r\n:1\r\n$9000000\r\n"[..], &[b'x'; 9_000_000], b"\r\n:1\r\n"].concat(),
            )
        },
    ];
    for answer in answers {
        let server = FakeServer::start(move |command| match handshake(command) {
            Some(_) if command.starts_with("UNLINK") || command.starts_with("EXISTS") => answer(),
            Some(other) => other,
            None => answer(),
        })
        .await;
        let builder = builder(&server).response_timeout(Duration::from_secs(20));
        let storage = builder.connect().await.unwrap();
        let limiter = limiter(&storage, [rule("r", 10)]);
        let uploads = limiter.concurrency("uploads", 9).unwrap();
        for error in [
            limiter.check("k", "r").await.unwrap_err().to_string(),
            limiter.reset("k", "r").await.unwrap_err().to_string(),
            uploads.try_acquire("k").await.unwrap_err().to_string(),
        ] {
            assert!(error.len() < 1_000, "{} bytes: {}", error.len(), &error[..500]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_idle_timeout_of_redis_the_first_request_is_answered_and_counted_once() {
    let server = Server::start();
    for resp3 in [true, false] {
        let storage = RedisStorage::builder(&server.url()).resp3(resp3).connect().await.unwrap();
        let limiter = limiter(&storage, [common::fixed("r", 100)]);
        for round in 1..=2 {
            let ours = connections(&server);
            server.command(&["CONFIG", "SET", "timeout", "1"]);
            while connections(&server).iter().any(|id| ours.contains(id)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Otherwise a connection may close during the request, whose effect is then unknown.
            server.command(&["CONFIG", "SET", "timeout", "0"]);
            let decision = limiter.check(format!("{resp3}"), "r").await.unwrap();
            assert_eq!(decision.remaining(), 100 - round, "RESP3: {resp3}");
        }
    }
}

/// Returns the IDs of the storage's connections.
fn connections(server: &Server) -> Vec<String> {
    let list = server.command(&["CLIENT", "LIST"]).to_string();
    let ours = list.lines().filter(|line| !line.contains("cmd=client"));
    ours.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}
