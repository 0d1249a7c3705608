//! Clocks that step back, and rules that are replaced, in ways that are rare in random histories.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, Charge, CheckedRule, Key, MAX_WINDOW, Micros, Refund, Rule};

use super::{model::Model, server::Server};
use crate::script::Op;

/// An edge of every window that divides a day.
const EDGE: i64 = 1_767_225_600_000_000;

/// One key, in Redis and in core.
struct Twins {
    server: Server,
    model: Model,
}

impl Twins {
    fn new() -> Self {
        Self { server: Server::start(), model: Model::default() }
    }

    fn acquire(&mut self, rule: &Arc<CheckedRule>, at: i64) {
        let (key, now) = (Key::from("k"), moment(at));
        let charge = [Charge::new(&key, rule, 1)];
        let expected = self.model.acquire(Op::Acquire, &charge, now);
        let answer = self.server.acquire(Op::Acquire, &charge, Some(now)).unwrap();
        assert_eq!(answer.verdicts(), expected.verdicts(), "at {at} µs");
    }

    fn refund(&mut self, rule: &Arc<CheckedRule>, at: i64) {
        let (key, now) = (Key::from("k"), moment(at));
        let refund = [Refund::new(Charge::new(&key, rule, 1), None)];
        self.model.refund(&refund, now);
        self.server.refund(&refund, Some(now)).unwrap();
    }
}

fn moment(at: i64) -> Micros {
    Micros::new(u64::try_from(EDGE + at).unwrap())
}

#[test]
fn a_window_that_was_refunded_after_the_clock_stepped_back_is_not_reopened() {
    let rule = Rule::per_second("r", 1).algorithm(Algorithm::FixedWindow);
    let rule = Arc::new(rule.block(Duration::from_millis(100)).check().unwrap());
    let mut twins = Twins::new();
    twins.acquire(&rule, 950_000);
    twins.acquire(&rule, 950_000); // blocked until 1,050 ms
    twins.refund(&rule, -400_000); // the window starts there, between two edges
    twins.acquire(&rule, -200_000);
    twins.acquire(&rule, -200_000);
}

#[test]
fn a_part_of_a_token_that_is_rounded_up_in_a_shorter_window_is_a_whole_token() {
    let bucket = |limit, window| {
        let rule = Rule::new("r", limit, window).algorithm(Algorithm::TokenBucket);
        Arc::new(rule.check().unwrap())
    };
    let (long, short) = (bucket(5, MAX_WINDOW), bucket(5, Duration::from_millis(1)));
    let mut twins = Twins::new();
    twins.acquire(&long, 0);
    twins.acquire(&long, 1); // 5 of the 3·10^14 parts of the first token have drained
    for _ in 0..4 {
        twins.acquire(&short, 1);
    }
}

#[test]
fn an_entry_of_a_log_is_not_moved_before_the_epoch() {
    let rule = Rule::per_second("r", 2).algorithm(Algorithm::SlidingWindowLog);
    let rule = Arc::new(rule.check().unwrap());
    let mut twins = Twins::new();
    for after_epoch in [500_000, 900_000, 100_000, 750_000, 1_000_000] {
        twins.acquire(&rule, after_epoch - EDGE);
    }
}
