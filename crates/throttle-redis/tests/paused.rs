//! Redis in tests with paused time, as on the guide's page on testing.

mod common;

use std::{
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use common::{fixed, limiter, rule, standalone};
use throttle_core::{Limiter, ManualClock};
use throttle_testbed::Server;
use tokio::time::{Instant, advance, pause, sleep};

/// Prevents the auto-advance of a runtime with paused time, until the result is dropped.
fn hold_time() -> Sender<()> {
    let (held, dropped) = channel();
    tokio::task::spawn_blocking(move || dropped.recv());
    held
}

#[tokio::test(start_paused = true)]
async fn with_auto_advance_prevented_redis_answers_and_time_moves_only_manually() {
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
    limiter.check("k", "r").await.unwrap(); // also after a health check
}

#[tokio::test]
async fn time_that_is_paused_after_connecting_works_the_same_way() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, [fixed("r", 1_000)]);
    let _held = hold_time();
    pause();
    for _ in 0..100 {
        limiter.check("k", "r").await.unwrap();
    }
}

/// Shows the auto-advance. If this fails, tokio has changed, and the guide's advice is no longer needed.
#[tokio::test(start_paused = true)]
async fn with_auto_advance_the_time_moves_while_a_request_waits_for_redis() {
    let server = Server::start();
    let storage = throttle_redis::RedisStorage::builder(&server.url()).connect_in_background();
    let limiter = limiter(&storage.unwrap(), [fixed("r", 1_000)]);
    let began = Instant::now();
    // A reply that arrives before the runtime is idle moves no time.
    for _ in 0..1_000 {
        let _ = limiter.check("k", "r").await;
        if began.elapsed() > Duration::ZERO {
            return;
        }
    }
    panic!("the time never moved");
}

#[tokio::test(start_paused = true)]
async fn paused_time_does_not_move_waits_on_the_limiters_clock() {
    let _held = hold_time();
    let server = Server::start();
    let clock = ManualClock::default();
    let limiter = Limiter::builder(standalone(&server).await).clock(clock.clone()).build();
    limiter.add_rule(rule("r", 1)).unwrap();
    assert!(limiter.check("k", "r").await.unwrap().is_allowed());

    let waiting = limiter.clone();
    let waiter = tokio::spawn(async move { waiting.until_ready("k", "r").await });
    advance(Duration::from_secs(3_600)).await;
    limiter.peek("k", "r").await.unwrap(); // gives the waiter the time of a request
    assert!(!waiter.is_finished());
    clock.advance(Duration::from_secs(3_600));
    assert!(waiter.await.unwrap().unwrap().is_allowed());
}
