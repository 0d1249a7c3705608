//! Tests of when calls are sent, with a clock that stands still until it is moved.

mod retry_after;
mod waiting;

use std::task::{Context, Poll, Waker};

use http::Request;
use throttle_core::{Algorithm, Limiter, ManualClock, Rule};
use throttle_memory::MemoryStorage;

use super::*;
use crate::{Options, identity::RequestHost};

const HOST: &str = "api.example.com";

fn clock() -> ManualClock {
    ManualClock::at(Micros::new(1_767_225_600_000_000).to_system_time())
}

fn limiter(clock: &ManualClock, rule: Rule) -> Limiter {
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    limiter.add_rule(rule).unwrap();
    limiter
}

/// Returns a rule of `limit` requests a minute, in windows that begin at the time of the clock.
fn fixed(limit: u64) -> Rule {
    Rule::per_minute("fixed", limit).algorithm(Algorithm::FixedWindow)
}

/// Returns a rule of one request a minute with a queue of `burst`.
fn leaky(burst: u64) -> Rule {
    Rule::per_minute("leaky", 1).algorithm(Algorithm::LeakyBucket).burst(burst)
}

fn dispatcher(limiter: &Limiter, options: Options, wait_limits: WaitLimits) -> Arc<Dispatcher> {
    let throttle = Throttle::new(limiter.clone(), options.key(RequestHost)).unwrap();
    Arc::new(Dispatcher::new(Arc::new(throttle), wait_limits).unwrap())
}

fn max_wait(max_wait: u64) -> WaitLimits {
    WaitLimits { max_wait: secs(max_wait), respect: None }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn acquire(dispatcher: &Arc<Dispatcher>) -> Dispatch {
    let request = Request::get(format!("https://{HOST}/")).body(()).unwrap();
    dispatcher.acquire(&RequestHead::new(&request, None))
}

#[track_caller]
fn now(dispatcher: &Arc<Dispatcher>) -> OutboundPermit {
    match acquire(dispatcher) {
        Dispatch::Now(permit) => permit,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn later(dispatcher: &Arc<Dispatcher>) -> OutboundWait {
    match acquire(dispatcher) {
        Dispatch::Wait(later) => later,
        other => panic!("{other:?}"),
    }
}

/// Polls a wait once.
fn poll(later: &mut OutboundWait) -> Poll<Result<OutboundPermit, OutboundError>> {
    Pin::new(later).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn assert_waits(later: &mut OutboundWait) {
    assert!(poll(later).is_pending());
}

#[track_caller]
fn assert_passes(later: &mut OutboundWait) -> OutboundPermit {
    match poll(later) {
        Poll::Ready(Ok(permit)) => permit,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_not_sent(later: &mut OutboundWait) -> OutboundError {
    match poll(later) {
        Poll::Ready(Err(not_sent)) => not_sent,
        other => panic!("{other:?}"),
    }
}

async fn remaining(limiter: &Limiter, rule: &str) -> u64 {
    limiter.peek(HOST, rule).await.unwrap().remaining()
}
