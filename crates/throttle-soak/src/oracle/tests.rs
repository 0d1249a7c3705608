use throttle_core::{Algorithm, Limiter, ManualClock, Micros, Rule};
use throttle_memory::MemoryStorage;

use super::*;

const RULE: usize = 0;
const KEY: u32 = 1;
const SECOND: u64 = 1_000_000;
/// A time at which nothing before it matters.
const NOW: u64 = 1_767_225_600 * SECOND;

/// Returns an oracle with a rule of 10 a second for each algorithm.
fn oracle(algorithm: Algorithm) -> Oracle {
    let mut slots = Slot::draw_all(&mut fastrand::Rng::with_seed(1));
    for slot in &mut slots {
        slot.rule = Rule::per_second(&slot.name, 10).algorithm(algorithm);
    }
    Oracle::new(slots, 2)
}

fn call(millis: u64) -> Call {
    Call { start: NOW + 1_000 * millis, end: NOW + 1_000 * millis + 300, cost: 1 }
}

fn allow(oracle: &mut Oracle, alone: Option<usize>, millis: impl IntoIterator<Item = u64>) {
    for at in millis {
        oracle.note(Event::Allowed { rule: RULE, key: KEY, alone, call: call(at) });
    }
}

fn violations(mut oracle: Oracle) -> usize {
    oracle.judge(NOW + 4 * SECOND);
    oracle.judge(NOW + 5 * SECOND);
    oracle.violations.len()
}

#[test]
fn one_planted_excess_is_reported_once() {
    for algorithm in Algorithm::ALL {
        let mut all_well = oracle(algorithm);
        allow(&mut all_well, None, 0..10);
        assert_eq!(violations(all_well), 0, "{algorithm}");

        let mut planted = oracle(algorithm);
        allow(&mut planted, None, 0..11);
        assert_eq!(violations(planted), 1, "{algorithm}");

        let mut of_others = oracle(algorithm);
        allow(&mut of_others, None, 0..10);
        let call = call(10);
        of_others.note(Event::Allowed { rule: RULE, key: KEY + 1, alone: None, call });
        of_others.note(Event::Allowed { rule: RULE + 1, key: KEY, alone: None, call });
        assert_eq!(violations(of_others), 0, "{algorithm}");
    }
}

#[test]
fn single_instances_are_checked_against_their_share() {
    for algorithm in Algorithm::ALL {
        let mut shares = oracle(algorithm);
        allow(&mut shares, None, 0..10);
        allow(&mut shares, Some(0), 10..15);
        allow(&mut shares, Some(1), 10..15);
        assert_eq!(violations(shares), 0, "{algorithm}");

        let mut planted = oracle(algorithm);
        allow(&mut planted, Some(1), 10..16);
        assert_eq!(violations(planted), 1, "{algorithm}");
    }
}

#[test]
fn refunds_resets_and_losses_are_no_violations() {
    let reset = call(15);
    let excuses = [
        Event::Refunded { rule: RULE, key: KEY, call: Call { cost: 10, ..call(15) } },
        Event::Reset { rule: RULE, key: KEY, call: reset },
        Event::Lost { from: reset.start, to: reset.end },
    ];
    for excuse in excuses {
        let mut excused = oracle(Algorithm::SlidingWindowLog);
        allow(&mut excused, None, (0..10).chain(20..30));
        excused.note(excuse);
        assert_eq!(violations(excused), 0);
    }
    let mut planted = oracle(Algorithm::SlidingWindowLog);
    allow(&mut planted, None, (0..10).chain(20..30));
    assert_eq!(violations(planted), 1);
}

#[test]
fn around_a_change_the_larger_limit_applies() {
    let changed = |limit| {
        let mut oracle = oracle(Algorithm::FixedWindow);
        let bound = Bound { limit, burst: limit, ..oracle.slots[RULE].bound() };
        oracle.note(Event::Changed { rule: RULE, at: NOW + 5_000, bound });
        allow(&mut oracle, None, 0..12);
        violations(oracle)
    };
    assert_eq!([changed(12), changed(11), changed(3)], [0, 1, 1]);
}

#[test]
fn without_faults_a_rejection_must_be_justified() {
    let rejected = |allowed, trouble| {
        let mut oracle = oracle(Algorithm::SlidingWindowLog);
        allow(&mut oracle, None, 0..allowed);
        oracle.note(Event::Denied { rule: RULE, key: KEY, call: call(50) });
        if trouble {
            oracle.note(Event::Trouble { from: NOW - 3 * SECOND, to: NOW - 2 * SECOND });
        }
        violations(oracle)
    };
    assert_eq!(rejected(10, false), 0);
    assert_eq!(rejected(9, false), 1);
    assert_eq!(rejected(9, true), 0);
}

/// Sends twice the load that a real limiter allows, lowers the burst meanwhile, and reports all of
/// it to an oracle, and then one more rejection, `later` milliseconds after.
async fn lowered(algorithm: Algorithm, later: Option<u64>) -> usize {
    let rule = |limit, burst| {
        let rule = Rule::new("r", limit, Duration::from_millis(335));
        rule.algorithm(algorithm).burst(burst)
    };
    let (before, after) = (rule(27, 80), rule(14, 29));
    let bound = |rule: &Rule| crate::rules::bound_of(rule);
    let slots: Vec<_> = Slot::draw_all(&mut fastrand::Rng::with_seed(1));
    let mut oracle = Oracle::new(slots, 2);
    oracle.note(Event::Changed { rule: RULE, at: NOW - 60 * SECOND, bound: bound(&before) });
    let clock = ManualClock::at(Micros::new(NOW).to_system_time());
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    limiter.add_rule(before).unwrap();
    for millis in (0..20_000).step_by(5) {
        clock.set(Micros::new(NOW + 1_000 * millis).to_system_time());
        if millis == 8_000 {
            let at = call(millis).start;
            oracle.note(Event::Changed { rule: RULE, at, bound: bound(&after) });
            limiter.replace_rule(after.clone()).unwrap();
        }
        let call = call(millis);
        oracle.note(match limiter.check("k", "r").await.unwrap().is_allowed() {
            true => Event::Allowed { rule: RULE, key: KEY, alone: None, call },
            false => Event::Denied { rule: RULE, key: KEY, call },
        });
        if millis.is_multiple_of(1_000) {
            oracle.judge(call.end);
        }
    }
    if let Some(later) = later {
        let call = call(20_000 + later);
        oracle.note(Event::Denied { rule: RULE, key: KEY, call });
        oracle.judge(call.end);
    }
    oracle.judge(NOW + 60 * SECOND);
    assert!(oracle.judged.1 > 500, "{algorithm}: {:?}", oracle.judged);
    oracle.violations.len()
}

#[tokio::test]
async fn charges_under_a_larger_burst_drain_first() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
        assert_eq!(lowered(algorithm, None).await, 0, "{algorithm}");
        assert_eq!(lowered(algorithm, Some(0)).await, 0, "{algorithm}");
        assert_eq!(
            lowered(algorithm, Some(800)).await,
            1,
            "{algorithm}, which has drained by then"
        );
    }
}
