//! Clocks that step back, and the real clock of the storage.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Limiter, Micros, Rule};

use crate::{
    fixtures::{limiter_at_2026, unique},
    operations::wait,
};

const WINDOW: Duration = Duration::from_secs(10);

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    for algorithm in Algorithm::ALL {
        a_clock_that_steps_back_allows_nothing_more(storage, algorithm).await;
        a_clock_that_jumps_around_a_window_edge_allows_nothing_more(storage, algorithm).await;
        a_step_back_does_not_extend_a_wait(storage, algorithm).await;
        a_key_is_allowed_after_retry_after_in_real_time(storage, algorithm).await;
    }
    4 * Algorithm::ALL.len()
}

fn rule(algorithm: Algorithm) -> Rule {
    Rule::new("r", 4, WINDOW).algorithm(algorithm)
}

async fn a_clock_that_steps_back_allows_nothing_more(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    for back in [1, 3_600_000_000, 1_767_225_600_000_000] {
        let (limiter, clock) = limiter_at_2026(storage);
        let key = unique("back");
        limiter.add_rule(rule(algorithm)).unwrap();
        limiter.check_cost(&key, "r", 4).await.unwrap();
        clock.set(Micros::new(1_767_225_600_000_000 - back).to_system_time());
        let denial = limiter.check(&key, "r").await.unwrap();
        assert!(
            !denial.is_allowed(),
            "{algorithm}: a request was allowed after a step back of {back} µs"
        );
    }
}

async fn a_clock_that_jumps_around_a_window_edge_allows_nothing_more(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("jump");
    limiter.add_rule(rule(algorithm)).unwrap();
    let mut allowed = 0;
    for i in 0..100_u64 {
        let at = 1_767_225_600_000_000 + i % 2; // the last microsecond of a window, the first of the next
        clock.set(Micros::new(at - 1).to_system_time());
        allowed += u64::from(limiter.check(&key, "r").await.unwrap().is_allowed());
    }
    assert!(allowed <= 8, "{algorithm}: {allowed} allowed at one window edge, with a limit of 4");
}

async fn a_step_back_does_not_extend_a_wait(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    for block in [None, Some(Duration::from_secs(30))] {
        let (limiter, clock) = limiter_at_2026(storage);
        let key = unique("longer");
        let rule = block.map_or(rule(algorithm), |block| rule(algorithm).block(block));
        let longest = rule.check().unwrap().longest_lifetime();
        limiter.add_rule(rule).unwrap();
        limiter.check_cost(&key, "r", 4).await.unwrap();
        limiter.check(&key, "r").await.unwrap();
        clock.set(Micros::new(1_000_000_000_000_000).to_system_time());
        let denial = limiter.check(&key, "r").await.unwrap();
        let wait = denial.retry_after().unwrap();
        assert!(
            wait <= Duration::from(longest),
            "{algorithm}: `retry_after` is {wait:?} after a step back, which exceeds the lifetime of a state"
        );
        clock.advance(wait);
        let decision = limiter.check(&key, "r").await.unwrap();
        assert!(
            decision.is_allowed(),
            "{algorithm}, block {block:?}: denied after `retry_after`: {decision:?}"
        );
    }
}

async fn a_key_is_allowed_after_retry_after_in_real_time(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    let limiter = Limiter::new(Arc::clone(storage));
    let key = unique("own");
    let window = Duration::from_millis(200);
    limiter.add_rule(Rule::new("r", 3, window).algorithm(algorithm)).unwrap();
    let mut denial = limiter.check_cost(&key, "r", 3).await.unwrap();
    while denial.is_allowed() {
        denial = limiter.check(&key, "r").await.unwrap();
    }
    let retry_after = denial.retry_after().unwrap();
    assert!(
        !retry_after.is_zero() && retry_after <= 2 * window,
        "{algorithm}: `retry_after` is {retry_after:?}, expected at most two windows"
    );
    wait(retry_after + Duration::from_millis(20)).await;
    assert!(
        limiter.check(&key, "r").await.unwrap().is_allowed(),
        "{algorithm}: denied after `retry_after`"
    );
}
