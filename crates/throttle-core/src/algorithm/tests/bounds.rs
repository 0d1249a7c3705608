//! No more passes than the rule gives for time that went forwards, whatever the clock does.

use proptest::prelude::*;

use super::{
    Run, YEAR_2026, YEAR_2200,
    histories::{config, jumps, rules},
    rule_of,
};
use crate::{Algorithm, CheckedRule};

/// Returns the most that can pass while the clock goes `forward` microseconds forwards, however often
/// it goes back in between.
fn most(rule: &CheckedRule, forward: u128) -> u128 {
    let (limit, window) = (u128::from(rule.limit()), u128::from(rule.window().get()));
    match rule.algorithm() {
        // From the opening of one window to that of the next but one the clock goes W forwards or
        // further: less than W sees two windows, as an edge does.
        Algorithm::FixedWindow => 2 * limit * (forward / window + 1),
        // An admission leaves at most N held, and that falls by prev/W ≤ N/W a microsecond.
        Algorithm::SlidingWindowCounter => limit + limit * forward / window,
        // An entry ages only as the clock goes forwards: less than W sees at most N.
        Algorithm::SlidingWindowLog => limit * (forward / window + 1),
        // A backlog of at most B drains by N/W a microsecond, and only forwards.
        Algorithm::TokenBucket | Algorithm::LeakyBucket => {
            u128::from(rule.capacity()) + limit * forward / window
        }
    }
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn a_clock_that_jumps_lets_no_more_pass_than_its_way_forwards_is_worth(
        rule in rules(), start in 0..YEAR_2200, history in jumps(),
    ) {
        let mut run = Run::new(&rule, start);
        let (mut forward, mut passed) = (0_u128, 0_u128);
        for (to, cost) in history {
            forward += u128::from(run.go(to));
            let cost = run.cost_of(cost);
            if run.ask(cost).allowed {
                passed += u128::from(cost);
            }
            prop_assert!(passed <= most(&rule, forward), "{} passed in {} µs", passed, forward);
        }
    }

    #[test]
    fn a_charge_that_is_given_back_at_once_makes_room_for_no_more_than_itself(
        rule in rules(), start in 0..YEAR_2200, history in jumps(), refunds in any::<u64>(),
    ) {
        let mut run = Run::new(&rule, start);
        let (mut forward, mut kept) = (0_u128, 0_u128);
        for (i, (to, cost)) in history.into_iter().enumerate() {
            forward += u128::from(run.go(to));
            let cost = run.cost_of(cost);
            let verdict = run.ask(cost);
            if !verdict.allowed {
                continue;
            }
            if refunds >> (i % 64) & 1 == 1 {
                run.refund(cost, verdict.receipt);
            } else {
                kept += u128::from(cost);
            }
            prop_assert!(kept <= most(&rule, forward), "{} kept in {} µs", kept, forward);
        }
    }
}

#[test]
fn a_clock_that_swings_over_an_edge_opens_no_window_twice() {
    for algorithm in Algorithm::ALL {
        let mut run = Run::new(&rule_of(algorithm, 5, 1_000_000), YEAR_2026);
        let mut passed = 0;
        for turn in 0..10_000 {
            run.now = YEAR_2026 - 1 + turn % 2;
            passed += u64::from(run.ask(1).allowed);
        }
        // The clock goes 5 000 µs forwards in all, which is worth no whole request.
        let before_the_edge = u64::from(algorithm == Algorithm::FixedWindow);
        assert_eq!(passed, before_the_edge + 5, "{algorithm}");
    }
}

#[test]
fn a_step_back_over_an_edge_that_was_seen_but_not_used_opens_no_window_again() {
    for algorithm in Algorithm::ALL {
        let mut run = Run::new(&rule_of(algorithm, 5, 1_000_000), YEAR_2026 - 1);
        let mut passed = 0;
        for _ in 0..100 {
            run.now = YEAR_2026 - 1;
            run.ask(6); // more than the limit: it brings the state to now, and takes nothing
            passed += run.ask_until_denied();
            run.now = YEAR_2026;
            run.ask(6);
        }
        passed += run.ask_until_denied();
        let most = if algorithm == Algorithm::FixedWindow { 10 } else { 5 };
        assert!(passed <= most, "{algorithm}: {passed} at one edge");
    }
}

#[test]
fn a_step_back_to_the_beginning_of_time_frees_nothing() {
    for algorithm in Algorithm::ALL {
        let mut run = Run::new(&rule_of(algorithm, 5, 1_000_000), YEAR_2026);
        assert_eq!(run.ask_until_denied(), 5);
        run.now = 0;
        assert!(!run.ask(1).allowed, "{algorithm}");
        assert_eq!(run.last.remaining, 0, "{algorithm}");
        run.now = run.last.retry_after.unwrap().get();
        assert!(run.ask(1).allowed, "{algorithm}: time goes on from where the clock stands");
    }
}
