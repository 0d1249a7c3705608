//! Redis in tests whose time stands still, as the guide's page on testing shows it.

mod common;

use std::{
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use common::{fixed, limiter, standalone};
use throttle_testbed::Server;
use tokio::time::{Instant, advance, pause, sleep};

/// Keeps the time of a paused runtime from running ahead, until it is dropped.
fn hold_time() -> Sender<()> {
    let (held, dropped) = channel();
    tokio::task::spawn_blocking(move || dropped.recv());
    held
}

#[tokio::test(start_paused = true)]
async fn with_the_time_held_redis_is_waited_for_and_time_moves_only_by_hand() {
    let _held = hold_time();
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, [fixed("r", 1_000)]);
    let began = Instant::now();
    for n in 1..=500 {
        let decision = limiter.check("k", "r").await.unwrap();
        assert_eq!(decision.remaining(), 1_000 - n);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);

    let timer = tokio::spawn(sleep(Duration::from_secs(60)));
    limiter.check("k", "r").await.unwrap();
    assert!(!timer.is_finished());
    advance(Duration::from_secs(60)).await;
    timer.await.unwrap();
    limiter.check("k", "r").await.unwrap(); // after a health check, too
}

#[tokio::test]
async fn a_time_that_is_paused_once_all_is_connected_is_held_the_same_way() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, [fixed("r", 1_000)]);
    let _held = hold_time();
    pause();
    for _ in 0..100 {
        limiter.check("k", "r").await.unwrap();
    }
}

/// If this fails, tokio has changed, and the guide may say so.
#[tokio::test(start_paused = true)]
async fn without_it_the_time_runs_ahead_while_redis_is_waited_for() {
    let server = Server::start();
    let storage = throttle_redis::RedisStorage::builder(&server.url()).connect_in_background();
    let limiter = limiter(&storage.unwrap(), [fixed("r", 1_000)]);
    let began = Instant::now();
    let _ = limiter.check("k", "r").await;
    assert!(began.elapsed() > Duration::ZERO);
}
