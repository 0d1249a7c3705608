//! Answers that are late or lost, with a proxy that injects faults.

mod common;

use std::time::{Duration, Instant};

use common::{fixed, limiter, storm, until_answered};
use throttle_core::{Effect, Error, Limiter};
use throttle_redis::{RedisStorage, RedisStorageBuilder};
use throttle_testbed::{Connect, Faults, Proxy, Server};

const LIMIT: u64 = 100_000;
const TIMEOUT: Duration = Duration::from_millis(200);

fn builder(proxy: &Proxy) -> RedisStorageBuilder {
    RedisStorage::builder(&format!("redis://{}", proxy.address()))
        .response_timeout(TIMEOUT)
        .connect_timeout(Duration::from_millis(500))
        .max_connections(2)
}

async fn connect_through(proxy: &Proxy) -> (RedisStorage, Limiter) {
    let storage = builder(proxy).connect().await.expect("the server runs");
    let limiter = limiter(&storage, [fixed("r", LIMIT)]);
    limiter.check("warm", "r").await.expect("the server runs");
    (storage, limiter)
}

async fn counted(server: &Server, key: &str) -> u64 {
    let limiter = limiter(&common::standalone(server).await, [fixed("r", LIMIT)]);
    LIMIT - limiter.peek(key, "r").await.expect("the server runs").remaining()
}

fn effect(error: &Error) -> Effect {
    match error {
        Error::Storage(error) => error.effect(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_with_a_late_answer_is_not_sent_again() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let (storage, limiter) = connect_through(&proxy).await;
    for round in 1..=3 {
        proxy.hold_answers(2 * TIMEOUT);
        let began = Instant::now();
        let error = limiter.check("k", "r").await.unwrap_err();
        assert!(began.elapsed() < TIMEOUT + Duration::from_millis(80), "{:?}", began.elapsed());
        assert_eq!(effect(&error), Effect::Unknown, "{error}");
        assert!(error.to_string().contains("may have been carried out"), "{error}");
        tokio::time::sleep(2 * TIMEOUT).await;
        assert_eq!(counted(&server, "k").await, round, "it was sent again");
    }
    until_answered(&limiter, "other", "r", Duration::from_secs(2)).await;
    assert!(storage.stats().late_answers >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_on_a_connection_that_is_cut_has_an_unknown_effect_and_is_not_sent_again() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let (_storage, limiter) = connect_through(&proxy).await;
    for round in 1..=3 {
        proxy.set(Faults { hold_answers: true, ..Faults::default() }).await;
        let asked = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.check("k", "r").await }
        });
        tokio::time::sleep(Duration::from_millis(60)).await; // the charge has reached Redis
        proxy.set(Faults { hold_answers: true, reset: true, ..Faults::default() }).await;
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(effect(&error), Effect::Unknown, "{error}");
        proxy.heal().await;
        until_answered(&limiter, "other", "r", Duration::from_secs(2)).await;
        assert_eq!(counted(&server, "k").await, round, "it was sent again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_is_replaced_and_requests_fail_within_the_timeout() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let (storage, limiter) = connect_through(&proxy).await;
    // Open connections hang forever: nothing is closed, and nothing arrives.
    proxy.set(Faults { hold_requests: true, hold_answers: true, ..Faults::default() }).await;
    let tally = storm(&limiter, "k", &["r"], 8, 4).await;
    assert_eq!(tally.allowed(), 0);
    assert!(tally.longest() < TIMEOUT + Duration::from_millis(100), "{:?}", tally.longest());
    proxy.heal().await;
    let took = until_answered(&limiter, "k", "r", Duration::from_secs(3)).await;
    println!("answered {took:?} after the proxy was healed; {:?}", storage.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_or_ignores_new_connections_is_an_error_within_the_timeout() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    for connect in [Connect::Refuse, Connect::BlackHole] {
        proxy.set(Faults { connect, ..Faults::default() }).await;
        let began = Instant::now();
        builder(&proxy).connect().await.unwrap_err();
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    }
    proxy.heal().await;
    let (_storage, limiter) = connect_through(&proxy).await;
    proxy.set(Faults { connect: Connect::Refuse, reset: true, ..Faults::default() }).await;
    let tally = storm(&limiter, "k", &["r"], 8, 4).await;
    assert_eq!(tally.allowed(), 0);
    proxy.heal().await;
    until_answered(&limiter, "k", "r", Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_detects_an_idle_connection_that_died_silently() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let storage =
        builder(&proxy).health_check_interval(Duration::from_millis(200)).connect().await.unwrap();
    let limiter = limiter(&storage, [fixed("r", LIMIT)]);
    limiter.check("k", "r").await.unwrap();
    proxy.set(Faults { hold_requests: true, hold_answers: true, ..Faults::default() }).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await; // without requests
    assert_eq!(storage.stats().connections, 0, "{:?}", storage.stats());
    proxy.heal().await;
    until_answered(&limiter, "k", "r", Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_round_trip_without_a_ping() {
    let server = Server::start();
    let storage = RedisStorage::builder(&server.url()).max_connections(1).connect().await.unwrap();
    let rules = [fixed("a", LIMIT), fixed("b", LIMIT), fixed("c", LIMIT)];
    let limiter = limiter(&storage, rules);
    limiter.check_all("k", &["a", "b", "c"]).await.unwrap();
    server.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..100 {
        limiter.check_all("k", &["a", "b", "c"]).await.unwrap();
    }
    let stats = server.command(&["INFO", "commandstats"]).to_string();
    let calls = |command: &str| {
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
        line.and_then(|line| line.split("calls=").nth(1)?.split(',').next()?.parse().ok())
            .unwrap_or(0)
    };
    assert_eq!((calls("evalsha"), calls("ping")), (100, 0), "{stats}");
}
