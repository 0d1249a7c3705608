//! Upper bounds: no more is allowed than the rule grants for the time by which the clock moved forwards.

use proptest::prelude::*;

use super::{
    Run, YEAR_2026, YEAR_2200,
    histories::{config, jumps, rules},
    rule_of,
};
use crate::{Algorithm, CheckedRule};

/// Returns the most that may be allowed while the clock moves `forward` microseconds forwards in total, however often
/// it steps back in between.
fn most(rule: &CheckedRule, forward: u128) -> u128 {
    let (limit, window) = (u128::from(rule.limit()), u128::from(rule.window().get()));
    match rule.algorithm() {
        // From the start of one window to the start of the next but one, the clock moves forwards by W or more: less
        // than W touches at most two windows.
        Algorithm::FixedWindow => 2 * limit * (forward / window + 1),
        // An allowed request leaves a usage of at most N, which falls by prev/W ≤ N/W per microsecond.
        Algorithm::SlidingWindowCounter => limit + limit * forward / window,
        // An entry ages only while the clock moves forwards: at most N are allowed in less than W.
        Algorithm::SlidingWindowLog => limit * (forward / window + 1),
        // A backlog of at most B drains by N/W per microsecond, and only while the clock moves forwards.
        Algorithm::TokenBucket | Algorithm::LeakyBucket => {
            u128::from(rule.capacity()) + limit * forward / window
        }
    }
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn a_clock_that_jumps_allows_no_more_than_the_time_it_moved_forwards(
        rule in rules(), start in 0..YEAR_2200, history in jumps(),
    ) {
        let mut run = Run::new(&rule, start);
        let (mut forward, mut allowed) = (0_u128, 0_u128);
        for (to, cost) in history {
            forward += u128::from(run.go(to));
            let cost = run.cost_of(cost);
            if run.acquire(cost).allowed {
                allowed += u128::from(cost);
            }
            prop_assert!(allowed <= most(&rule, forward), "{} allowed in {} µs", allowed, forward);
        }
    }

    #[test]
    fn an_immediate_refund_frees_no_more_than_its_charge(
        rule in rules(), start in 0..YEAR_2200, history in jumps(), refunds in any::<u64>(),
    ) {
        let mut run = Run::new(&rule, start);
        let (mut forward, mut kept) = (0_u128, 0_u128);
        for (i, (to, cost)) in history.into_iter().enumerate() {
            forward += u128::from(run.go(to));
            let cost = run.cost_of(cost);
            let verdict = run.acquire(cost);
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
fn a_clock_that_swings_over_a_window_boundary_starts_no_window_twice() {
    for algorithm in Algorithm::ALL {
        let mut run = Run::new(&rule_of(algorithm, 5, 1_000_000), YEAR_2026);
        let mut allowed = 0;
        for round in 0..10_000 {
            run.now = YEAR_2026 - 1 + round % 2;
            allowed += u64::from(run.acquire(1).allowed);
        }
        // The clock moves 5 000 µs forwards in total, in which no whole request becomes free.
        let before_the_boundary = u64::from(algorithm == Algorithm::FixedWindow);
        assert_eq!(allowed, before_the_boundary + 5, "{algorithm}");
    }
}

#[test]
fn a_step_back_over_a_boundary_without_requests_starts_no_window_again() {
    for algorithm in Algorithm::ALL {
        let mut run = Run::new(&rule_of(algorithm, 5, 1_000_000), YEAR_2026 - 1);
        let mut allowed = 0;
        for _ in 0..100 {
            run.now = YEAR_2026 - 1;
            run.acquire(6); // more than the limit: it advances the state, and charges nothing
            allowed += run.acquire_until_denied();
            run.now = YEAR_2026;
            run.acquire(6);
        }
        allowed += run.acquire_until_denied();
        let most = if algorithm == Algorithm::FixedWindow { 10 } else { 5 };
        assert!(allowed <= most, "{algorithm}: {allowed} at one boundary");
    }
}

#[test]
fn a_step_back_to_the_epoch_frees_nothing() {
    for algorithm in Algorithm::ALL {
        let mut run = Run::new(&rule_of(algorithm, 5, 1_000_000), YEAR_2026);
        assert_eq!(run.acquire_until_denied(), 5);
        run.now = 0;
        assert!(!run.acquire(1).allowed, "{algorithm}");
        assert_eq!(run.last.remaining, 0, "{algorithm}");
        run.now = run.last.retry_after.unwrap().get();
        assert!(
            run.acquire(1).allowed,
            "{algorithm}: time continues from the new time of the clock"
        );
    }
}
