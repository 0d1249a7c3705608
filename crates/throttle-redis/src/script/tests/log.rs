//! Long sliding window logs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use throttle_core::{Algorithm, Charge, CheckedRule, Key, Micros, Refund, Rule};

use super::server::{Server, storage_key};
use crate::script::{MAX_LOG_LIMIT, Op};

const START: u64 = 1_767_225_600_000_000;
const ENTRIES: u64 = MAX_LOG_LIMIT;

struct Log {
    server: Server,
    rule: Arc<CheckedRule>,
}

impl Log {
    /// Creates a full log with an entry for each millisecond.
    fn filled() -> Self {
        let mut log = Self { server: Server::start(), rule: rule(ENTRIES) };
        for i in 0..ENTRIES {
            assert!(log.ask(i * 1_000, 1));
        }
        log
    }

    fn ask(&mut self, after: u64, cost: u64) -> bool {
        self.wait(after, cost).is_none()
    }

    /// Sends a request, and returns its wait if it is denied.
    fn wait(&mut self, after: u64, cost: u64) -> Option<u64> {
        let key = Key::from("k");
        let charge = [Charge::new(&key, &self.rule, cost)];
        let now = Some(Micros::new(START + after));
        let outcome = self.server.acquire(Op::Acquire, &charge, now).unwrap();
        outcome.verdicts()[0].retry_after.map(Micros::get)
    }

    fn entries(&mut self) -> u64 {
        let key = Key::from("k");
        let key = storage_key(&Charge::new(&key, &self.rule, 1));
        self.server.send::<u64>(&format!("LLEN {key}")) - 1
    }
}

fn rule(limit: u64) -> Arc<CheckedRule> {
    let rule = Rule::new("log", limit, Duration::from_secs(1_000));
    Arc::new(rule.algorithm(Algorithm::SlidingWindowLog).check().unwrap())
}

/// Returns the average duration of a call in microseconds.
fn each(times: u32, mut call: impl FnMut(u32)) -> u128 {
    let started = Instant::now();
    (0..times).for_each(&mut call);
    (started.elapsed() / times).as_micros()
}

#[test]
fn the_longest_log_is_fast_exact_and_bounded() {
    let mut log = Log::filled();
    let (window, end) = (1_000_000_000, ENTRIES * 1_000);
    assert_eq!(log.entries(), ENTRIES);

    let flood = each(2_000, |_| assert_eq!(log.wait(end, 1), Some(window - end)));
    // The wait for a high cost is computed from the nearer end of the log.
    assert_eq!(log.wait(end, 1_001), Some(window - end + 1_000_000));
    assert_eq!(log.wait(end, ENTRIES), Some(window - 1_000));
    assert_eq!(log.wait(end, ENTRIES - 5), Some(window - 6_000));
    assert_eq!(log.wait(end, ENTRIES / 2), Some(window - end + ENTRIES / 2 * 1_000 - 1_000));

    // Each request expires one entry and adds one.
    let steady = each(500, |i| assert!(log.ask(window + u64::from(i) * 1_000, 1)));
    assert_eq!(log.entries(), ENTRIES);

    // Half of the entries expire at once. A denied request removes them, so that the next one need not skip them.
    let later = window + ENTRIES / 2 * 1_000;
    assert!(!log.ask(later, ENTRIES));
    assert!(log.entries() < ENTRIES * 6 / 10);

    // The limit is lowered during an attack.
    log.rule = rule(10);
    let lowered = each(2_000, |_| assert!(!log.ask(later, 1)));
    for (what, took) in [("flood", flood), ("steady", steady), ("lowered", lowered)] {
        assert!(took < 1_000, "{what}: {took} µs for each call");
    }
}

#[test]
fn refunds_of_a_long_log_find_their_entries() {
    let mut log = Log::filled();
    let (key, now) = (Key::from("k"), START + ENTRIES * 1_000);
    let receipt = |i: u64| Some(throttle_core::Receipt::new(Micros::new(START + i * 1_000), 0));
    for i in [0, 1, ENTRIES / 2, ENTRIES - 2, ENTRIES - 1] {
        let refund = Refund::new(Charge::new(&key, &log.rule, 1), receipt(i));
        log.server.refund(&[refund], Some(Micros::new(now))).unwrap();
        log.server.refund(&[refund], Some(Micros::new(now))).unwrap();
    }
    assert_eq!(log.entries(), ENTRIES - 5);
    let refund = Refund::new(Charge::new(&key, &log.rule, 3_000), None);
    log.server.refund(&[refund], Some(Micros::new(now))).unwrap();
    assert_eq!(log.entries(), ENTRIES - 3_005);
    assert!(!log.ask(ENTRIES * 1_000, 3_006));
    assert!(log.ask(ENTRIES * 1_000, 3_005));
}
