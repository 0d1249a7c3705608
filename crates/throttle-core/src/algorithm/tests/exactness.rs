//! Exactness: both waits are exact, and exactly the limit is free again after exactly one window.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    Run, YEAR_2026,
    histories::{config, rules, rules_without_block, starts, steps},
    rule_of,
};
use crate::{Algorithm, MAX_LIMIT, Rule};

proptest! {
    #![proptest_config(config(6_000))]

    #[test]
    fn a_denied_cost_is_allowed_after_retry_after_and_not_a_microsecond_earlier(
        rule in rules(), start in starts(), steps in steps(),
    ) {
        let mut run = Run::new(&rule, start);
        for step in steps {
            run.now += run.span_of(step.wait);
            let cost = run.cost_of(step.cost);
            let was_blocked = run.peek_at(run.now, 1).blocked;
            let verdict = run.acquire(cost);
            prop_assert_eq!(verdict.retry_after.is_some(), !verdict.allowed && cost <= rule.capacity());
            let Some(wait) = verdict.retry_after else { continue };

            prop_assert!(wait.get() > 0, "{:?}", verdict);
            let early = run.peek_at(run.now + wait.get() - 1, cost);
            prop_assert!(!early.allowed, "one microsecond early: {:?}", early);
            prop_assert_eq!(early.retry_after.map(|wait| wait.get()), Some(1));
            let due = run.peek_at(run.now + wait.get(), cost);
            prop_assert!(!due.blocked, "{:?} after {:?}", due, verdict);
            // While the key is blocked, `retry_after` is the end of the block, regardless of the cost.
            prop_assert!(due.allowed || was_blocked, "{:?} after {:?}", due, verdict);
        }
    }

    #[test]
    fn the_whole_limit_is_free_after_reset_after_and_not_a_microsecond_earlier(
        rule in rules(), start in starts(), steps in steps(),
    ) {
        let mut run = Run::new(&rule, start);
        for step in steps {
            run.now += run.span_of(step.wait);
            let verdict = run.acquire(run.cost_of(step.cost));
            let reset = verdict.reset_after.get();
            prop_assert!(verdict.remaining <= rule.capacity());
            if reset > 0 {
                let early = run.peek_at(run.now + reset - 1, 1);
                prop_assert!(early.remaining < rule.capacity(), "early: {:?}", early);
            }
            if !verdict.blocked {
                let due = run.peek_at(run.now + reset, 1);
                prop_assert_eq!(due.remaining, rule.capacity());
                prop_assert_eq!(due.reset_after.get(), 0);
            }
        }
    }

    #[test]
    fn exactly_what_remains_is_allowed_at_once(
        rule in rules(), start in starts(), steps in steps(),
    ) {
        let mut run = Run::new(&rule, start);
        for step in steps {
            run.now += run.span_of(step.wait);
            let verdict = run.acquire(run.cost_of(step.cost));
            let remaining = verdict.remaining;
            prop_assert!(remaining == 0 || run.peek_at(run.now, remaining).allowed);
            prop_assert!(!run.peek_at(run.now, remaining + 1).allowed);
        }
    }

    #[test]
    fn a_denied_request_and_a_peek_change_no_later_decision(
        rule in rules_without_block(), start in starts(), steps in steps(),
    ) {
        let (mut run, mut patient) = (Run::new(&rule, start), Run::new(&rule, start));
        for step in steps {
            run.now += run.span_of(step.wait);
            patient.now = run.now;
            let cost = run.cost_of(step.cost);
            let (peeked, verdict) = (patient.peek_at(run.now, cost), run.acquire(cost));
            prop_assert_eq!(peeked.allowed, verdict.allowed);
            prop_assert_eq!(peeked.retry_after, verdict.retry_after);
            prop_assert_eq!(peeked.delay, verdict.delay);
            if peeked.allowed {
                prop_assert_eq!(patient.acquire(cost), verdict);
            }
        }
    }
}

/// Limits that do not divide their window, and extreme ones.
const UNEVEN: [(u64, u64); 7] = [
    (7, 1_000_000),
    (999, 3_600_000_000),
    (3, 1_000),
    (1_001, 1_000),
    (999_983, 86_400_000_000),
    (MAX_LIMIT, 3_600_000_000),
    (MAX_LIMIT, 1_000),
];

#[test]
fn exactly_the_limit_is_free_again_after_exactly_one_window() {
    let all_at_once = Algorithm::ALL.into_iter();
    for algorithm in all_at_once.filter(|one| *one != Algorithm::SlidingWindowCounter) {
        for (limit, window) in UNEVEN {
            let limit =
                if algorithm == Algorithm::SlidingWindowLog { limit % 1_000 } else { limit };
            let start = YEAR_2026 - YEAR_2026 % window;
            let mut run = Run::new(&rule_of(algorithm, limit, window), start);
            for round in 0..500 {
                let what = format!("{algorithm}, {limit} per {window} µs, round {round}");
                run.now = start + round * window;
                if round > 0 {
                    assert!(!run.peek_at(run.now - 1, limit).allowed, "{what}: early");
                }
                assert!(run.acquire(limit).allowed, "{what}: {:?}", run.last);
                assert!(!run.acquire(1).allowed, "{what}: one too many");
            }
        }
    }
}

#[test]
fn the_counter_frees_the_limit_in_exactly_the_next_window() {
    for (limit, window) in UNEVEN {
        let start = YEAR_2026 - YEAR_2026 % window;
        let mut run = Run::new(&rule_of(Algorithm::SlidingWindowCounter, limit, window), start);
        assert!(run.acquire(limit).allowed);
        for back in [1, 2, limit / 2, limit].map(|back| u128::from(back.max(1))) {
            let due = (back * u128::from(window)).div_ceil(u128::from(limit)) as u64;
            let at = start + window + due;
            assert!(u128::from(run.peek_at(at, 1).remaining) >= back, "{back} of {limit}");
            assert!(
                u128::from(run.peek_at(at - 1, 1).remaining) < back,
                "{back} of {limit}, early"
            );
        }
    }
}

#[test]
fn a_bucket_refills_each_token_at_its_exact_microsecond() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
        for (limit, window) in [(7, 1_000_000), (999, 3_600_000_000), (3, 1_000)] {
            let mut run = Run::new(&rule_of(algorithm, limit, window), YEAR_2026);
            assert!(run.acquire(limit).allowed);
            for back in 1..=limit {
                let at = YEAR_2026 + (back * window).div_ceil(limit);
                assert_eq!(run.peek_at(at, 1).remaining, back, "{algorithm}, {limit}");
                assert_eq!(run.peek_at(at - 1, 1).remaining, back - 1, "{algorithm}, {limit}");
            }
        }
    }
}

#[test]
fn a_bucket_allows_the_same_number_in_single_requests_as_in_bulk() {
    for (limit, window) in [(7, 1_000_000), (999, 3_600_000_000), (1_001, 1_000)] {
        let rule = rule_of(Algorithm::TokenBucket, limit, window);
        let mut run = Run::new(&rule, YEAR_2026);
        let mut allowed = 0;
        while run.now < YEAR_2026 + 3 * window {
            allowed += run.acquire_until_denied();
            run.now += run.last.retry_after.unwrap().get();
        }
        let due = limit * (3 * window - 1) / window; // before the end of the third window
        assert_eq!(allowed, limit + due, "{limit} per {window} µs");
    }
}

#[test]
fn a_pause_accumulates_no_more_than_one_burst() {
    for algorithm in Algorithm::ALL {
        for pause in [1, 2, 3, 10, 1_000] {
            let mut run = Run::new(&rule_of(algorithm, 5, 1_000_000), YEAR_2026 + 400_000);
            assert_eq!(run.acquire_until_denied(), 5, "{algorithm}");
            run.now += pause * 2_000_000;
            assert_eq!(run.acquire_until_denied(), 5, "{algorithm} after {pause} pauses");
            run.now += 1;
            assert!(!run.acquire(1).allowed, "{algorithm} after {pause} pauses");
        }
    }
}

#[test]
fn a_bucket_accumulates_no_more_than_its_burst() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
        for burst in [1, 3, 50] {
            let rule = Rule::per_second("r", 10).algorithm(algorithm).burst(burst);
            let mut run = Run::new(&rule.check().unwrap(), YEAR_2026);
            for _ in 0..3 {
                assert_eq!(run.acquire_until_denied(), burst, "{algorithm}");
                run.now += 3_600_000_000;
            }
        }
    }
}

#[test]
fn a_leaky_bucket_schedules_requests_at_a_constant_rate() {
    let mut run = Run::new(&rule_of(Algorithm::LeakyBucket, 7, 1_000_000), YEAR_2026);
    let delays: Vec<_> = (0..7).map(|_| run.acquire(1).delay.get()).collect();
    assert_eq!(delays, [0, 142_858, 285_715, 428_572, 571_429, 714_286, 857_143]);
    run.now += 500_000;
    assert_eq!(run.acquire(1).delay.get(), 500_000, "the backlog before it is half a second");
    assert_eq!(run.acquire(3).retry_after.unwrap().get(), 71_429, "there is room for 2.5 requests");
}

#[test]
fn a_bucket_keeps_its_tokens_when_the_window_is_replaced() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
        let mut run = Run::new(&rule_of(algorithm, 1, 1_000), YEAR_2026);
        assert!(run.acquire(1).allowed);
        run.now += 1;
        run.rule = Arc::new(rule_of(algorithm, 1, 1_001));
        // 0.999 of a token is used: 999.999 of the 1 001 microseconds of the new window.
        assert_eq!(run.acquire(1).retry_after.unwrap().get(), 1_000, "{algorithm}");
        run.rule = Arc::new(rule_of(algorithm, 1, 1_000_000));
        assert_eq!(run.acquire(1).retry_after.unwrap().get(), 999_001, "{algorithm}");
    }
}
