//! Servers that hang up, answer nonsense, or never stop: what they cost, and what is said of them.

mod common;

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use common::{
    limiter, rule,
    stranger::{Answer, Stranger},
};
use throttle_core::{Effect, Error, Rule};
use throttle_redis::{RedisStorage, RedisStorageBuilder};
use throttle_testbed::Server;

fn builder(stranger: &Stranger) -> RedisStorageBuilder {
    RedisStorage::builder(&format!("redis://{}", stranger.address))
}

/// What a good server answers to all but scripts.
fn handshake(command: &str) -> Option<Answer> {
    match command.split(' ').next()? {
        "EVALSHA" => None,
        "HELLO" => Some(Answer::Text("%1\r\n+proto\r\n:3\r\n")),
        "PING" => Some(Answer::Text("+PONG\r\n")),
        _ => Some(Answer::Text("+OK\r\n")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_at_each_script_is_connected_to_ever_more_rarely_and_named() {
    let stranger = Stranger::start(|command| handshake(command).unwrap_or(Answer::Close)).await;
    for resp3 in [true, false] {
        let before = stranger.connections();
        let storage = builder(&stranger).resp3(resp3).connect().await.unwrap();
        let limiter = limiter(&storage, [rule("r", 10)]);
        let began = Instant::now();
        let mut texts = String::new();
        while began.elapsed() < Duration::from_secs(3) {
            texts += &limiter.check("k", "r").await.unwrap_err().to_string();
            tokio::task::yield_now().await;
        }
        // Four connections, each after 20, 40 … 500 ms at least by half.
        let made = stranger.connections() - before;
        assert!(made <= 4 * (6 + 2 * 3 * 2), "{made} connections");
        assert!(made >= 8, "{made} connections: it is not given up");
        assert!(texts.contains("EVALSHA"), "{}", &texts[..500]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_answers_once_and_hangs_up_is_connected_to_rarely_as_well() {
    let stranger = Stranger::start(|command| match handshake(command) {
        // The answer is no state of ours, and then it closes.
        None => Answer::Text("-ERR not today\r\n"),
        Some(_) if command.starts_with("PING") => Answer::Close,
        Some(answer) => answer,
    })
    .await;
    let storage = builder(&stranger).connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 10)]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let _ = limiter.check("k", "r").await;
        let _ = storage.ping().await;
    }
    let made = stranger.connections();
    assert!(made <= 4 * (6 + 2 * 2 * 2), "{made} connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_command_says_so_whatever_the_bytes_of_the_rule() {
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
    // Those to ask for the number are counted too, and the slower of our own.
    assert!(connections() - before < 10, "{} connections", connections() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_missing_however_often_it_is_loaded_is_not_sent_without_a_pause() {
    let loads = std::sync::Arc::new(std::sync::atomic::AtomicU64::default());
    let counted = std::sync::Arc::clone(&loads);
    let stranger = Stranger::start(move |command| {
        counted.fetch_add(u64::from(command.starts_with("SCRIPT LOAD")), Relaxed);
        handshake(command).unwrap_or(Answer::Text("-NOSCRIPT No matching script.\r\n"))
    })
    .await;
    let builder = builder(&stranger).max_connections(1).retries(4);
    let storage = builder.response_timeout(Duration::from_secs(20)).connect().await.unwrap();
    let limiter = limiter(&storage, [rule("r", 10)]);
    let (before, began) = (loads.load(Relaxed), Instant::now());
    let error = limiter.check("k", "r").await.unwrap_err().to_string();
    assert_eq!(loads.load(Relaxed) - before, 5, "once, and four times more");
    // 10, 20, 40 and 80 ms, at least by half.
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
async fn an_answer_without_end_is_cut_off_before_and_after_the_handshake() {
    for (beginning, again) in ENDLESS {
        for in_handshake in [true, false] {
            let stranger = Stranger::start(move |command| {
                match handshake(command).filter(|_| !in_handshake) {
                    Some(answer) => answer,
                    None => Answer::Endless(beginning, again),
                }
            })
            .await;
            let builder = builder(&stranger).max_connections(1);
            let text = if in_handshake {
                builder.connect().await.unwrap_err().to_string()
            } else {
                let storage = builder.response_timeout(Duration::from_secs(20)).connect().await;
                let limiter = limiter(&storage.unwrap(), [rule("r", 10)]);
                limiter.check("k", "r").await.unwrap_err().to_string()
            };
            let sent = stranger.sent.load(Relaxed);
            let most = if in_handshake { 20 << 20 } else { 64 << 20 };
            assert!(sent <= most, "{beginning:?}: {sent} bytes");
            assert!(text.contains("larger than it may be"), "{beginning:?}: {text}");
            assert!(text.len() < 1_000, "{beginning:?}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_without_end_is_cut_off() {
    for in_handshake in [true, false] {
        let stranger =
            Stranger::start(move |command| match handshake(command).filter(|_| !in_handshake) {
                Some(_) if command == "ROLE" => Answer::Text("*2\r\n$8\r\nsentinel\r\n*0\r\n"),
                Some(_) if command == "SENTINEL MASTERS" => {
                    Answer::Endless("*9\r\n$999999999\r\n", "a")
                }
                Some(answer) => answer,
                None => Answer::Endless("$2000000000\r\n", "a"),
            })
            .await;
        let url = format!("redis+sentinel://{}/main", stranger.address);
        let text = RedisStorage::connect(&url).await.unwrap_err().to_string();
        assert!(text.contains("larger than it may be"), "{text}");
        assert!(stranger.sent.load(Relaxed) <= 20 << 20, "{} bytes", stranger.sent.load(Relaxed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_of_a_thousand_masters_is_understood() {
    let master = Stranger::start(|command| match handshake(command) {
        Some(_) if command == "ROLE" => Answer::Text("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
        answer => answer.unwrap_or(Answer::Close),
    })
    .await;
    let port = master.address.rsplit(':').next().unwrap().to_owned();
    let sentinel = Stranger::start(move |command| match handshake(command) {
        Some(_) if command == "ROLE" => Answer::Text("*2\r\n$8\r\nsentinel\r\n*0\r\n"),
        Some(_) if command == "SENTINEL MASTERS" => Answer::Bytes(masters(1_000, &port)),
        answer => answer.unwrap_or(Answer::Close),
    })
    .await;
    let url = format!("redis+sentinel://{}/main999", sentinel.address);
    RedisStorage::connect(&url).await.unwrap();
}

/// Writes what a sentinel says of masters, each with 20 fields.
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
async fn lists_that_the_script_does_not_answer_are_an_error() {
    let stranger = Stranger::start(|command| {
        handshake(command).unwrap_or(Answer::Text("*1\r\n$13\r\n1764547200000\r\n"))
    })
    .await;
    let storage = builder(&stranger).connect().await.unwrap();
    let error = limiter(&storage, []).shared_lists().await.unwrap_err().to_string();
    assert!(error.contains("no page"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_is_a_short_text_and_the_connection_stays() {
    let stranger = Stranger::start(|command| {
        let long = || [&b"-ERR what "[..], &[b'x'; 20_000_000], b"\r\n"].concat();
        handshake(command).unwrap_or_else(|| Answer::Bytes(long()))
    })
    .await;
    let timeout = Duration::from_secs(20);
    let builder = builder(&stranger).max_connections(1).response_timeout(timeout);
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
    assert_eq!(stranger.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_kind_is_a_short_text() {
    let answers: [fn() -> Answer; 2] = [
        || Answer::Bytes([&b"$9000000\r\n"[..], &[b'x'; 9_000_000], b"\r\n"].concat()),
        || {
            Answer::Bytes(
                [&b"*3\r\n:1\r\n$9000000\r\n"[..], &[b'x'; 9_000_000], b"\r\n:1\r\n"].concat(),
            )
        },
    ];
    for answer in answers {
        let stranger = Stranger::start(move |command| match handshake(command) {
            Some(_) if command.starts_with("UNLINK") || command.starts_with("EXISTS") => answer(),
            Some(other) => other,
            None => answer(),
        })
        .await;
        let builder = builder(&stranger).response_timeout(Duration::from_secs(20));
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
async fn after_the_idle_timeout_of_the_server_the_first_request_is_answered_and_counted_once() {
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
            // Not while one is being closed: what came then is not known.
            server.command(&["CONFIG", "SET", "timeout", "0"]);
            let decision = limiter.check(format!("{resp3}"), "r").await.unwrap();
            assert_eq!(decision.remaining(), 100 - round, "RESP3: {resp3}");
        }
    }
}

/// Returns the numbers of our connections.
fn connections(server: &Server) -> Vec<String> {
    let list = server.command(&["CLIENT", "LIST"]).to_string();
    let ours = list.lines().filter(|line| !line.contains("cmd=client"));
    ours.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}
