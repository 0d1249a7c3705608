//! Requests with several rules, blocks, resets, and changed rules.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Limiter, Rule};

use crate::fixtures::{limiter_at_2026, unique};

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    for algorithm in Algorithm::ALL {
        a_denied_request_charges_no_rule(storage, algorithm).await;
        a_reset_refunds_and_unblocks_a_key(storage, algorithm).await;
        a_block_ends(storage, algorithm).await;
        a_new_limit_keeps_the_count(storage, algorithm).await;
        a_lowered_limit_allows_after_its_retry_after(storage, algorithm).await;
        servers_with_different_limits_allow_at_most_the_larger(storage, algorithm).await;
    }
    for bucket in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
        the_excess_over_a_lower_burst_drains_at_the_old_rate(storage, bucket).await;
    }
    a_block_outlasts_a_change_of_algorithm(storage).await;
    the_most_restrictive_rule_has_the_longest_wait_or_the_least_remaining(storage).await;
    6 * Algorithm::ALL.len() + 4
}

async fn a_denied_request_charges_no_rule(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("all");
    limiter.add_rule(Rule::per_day("wide", 100).algorithm(algorithm)).unwrap();
    limiter.add_rule(Rule::per_day("narrow", 2).algorithm(algorithm)).unwrap();
    for i in 0..5 {
        for rules in [["wide", "narrow"], ["narrow", "wide"]] {
            let decisions = limiter.check_all(&key, &rules).await.unwrap();
            assert_eq!(
                decisions.is_allowed(),
                i == 0,
                "{algorithm}: whether request {i} is allowed"
            );
            let rule = decisions.most_restrictive().rule();
            assert_eq!(rule, "narrow", "{algorithm}: the most restrictive rule");
            let wide = decisions.all().iter().find(|one| one.rule() == "wide").unwrap();
            assert!(wide.is_allowed(), "{algorithm}: the wide rule must allow the request");
        }
    }
    let remaining = limiter.peek(&key, "wide").await.unwrap().remaining();
    assert_eq!(remaining, 98, "{algorithm}: a denied request must not charge the wide rule");
}

async fn a_reset_refunds_and_unblocks_a_key(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("reset");
    let rule = Rule::per_hour("r", 3).algorithm(algorithm).block(Duration::from_secs(7200));
    limiter.add_rule(rule).unwrap();
    for _ in 0..4 {
        limiter.check(&key, "r").await.unwrap();
    }
    assert!(limiter.peek(&key, "r").await.unwrap().is_blocked(), "{algorithm}: not blocked");
    let reset = limiter.reset(&key, "r").await.unwrap();
    let again = limiter.reset(&key, "r").await.unwrap();
    assert_eq!(
        (reset, again),
        (true, false),
        "{algorithm}: a reset must return whether there was a state"
    );
    let decision = limiter.check(&key, "r").await.unwrap();
    assert_eq!(
        (decision.is_allowed(), decision.remaining()),
        (true, 2),
        "{algorithm}: a reset must clear all"
    );
}

async fn a_block_ends(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("block");
    let span = Duration::from_secs(5);
    let rule = Rule::per_second("r", 1).algorithm(algorithm).block(span);
    limiter.add_rule(rule).unwrap();
    limiter.check(&key, "r").await.unwrap();
    let denial = limiter.check(&key, "r").await.unwrap();
    assert!(
        denial.is_blocked() && denial.retry_after() == Some(span),
        "{algorithm}: expected a block: {denial:?}"
    );
    clock.advance(span - Duration::from_micros(1));
    let denial = limiter.check(&key, "r").await.unwrap();
    assert_eq!(
        denial.retry_after(),
        Some(Duration::from_micros(1)),
        "{algorithm}: a denied request does not extend the block"
    );
    clock.advance(Duration::from_micros(1));
    assert!(
        limiter.check(&key, "r").await.unwrap().is_allowed(),
        "{algorithm}: denied after the block"
    );
}

async fn a_new_limit_keeps_the_count(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("replace");
    limiter.add_rule(Rule::per_day("r", 10).algorithm(algorithm)).unwrap();
    limiter.check_cost(&key, "r", 6).await.unwrap();
    limiter.replace_rule(Rule::per_day("r", 20).algorithm(algorithm)).unwrap();
    assert_eq!(limiter.peek(&key, "r").await.unwrap().remaining(), 14, "{algorithm}: raised limit");
    limiter.replace_rule(Rule::per_day("r", 5).algorithm(algorithm)).unwrap();
    let decision = limiter.check(&key, "r").await.unwrap();
    assert!(
        !decision.is_allowed() && decision.remaining() == 0,
        "{algorithm}: lowered limit: {decision:?}"
    );
    let wait = decision.retry_after().unwrap();
    let bound = Duration::from_secs(2 * 86_400);
    assert!(wait <= bound, "{algorithm}: `retry_after` is {wait:?}, expected at most two windows");
    let two_days = Rule::new("r", 5, Duration::from_secs(2 * 86_400)).algorithm(algorithm);
    limiter.replace_rule(two_days).unwrap();
    assert!(!limiter.check(&key, "r").await.unwrap().is_allowed(), "{algorithm}: longer window");
}

async fn a_lowered_limit_allows_after_its_retry_after(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("lowered");
    limiter.add_rule(Rule::per_minute("r", 100).algorithm(algorithm)).unwrap();
    limiter.check_cost(&key, "r", 100).await.unwrap();
    for _ in 0..2 {
        limiter.replace_rule(Rule::per_minute("r", 7).algorithm(algorithm)).unwrap();
        clock.advance(Duration::from_secs(1));
        let wait = limiter.check(&key, "r").await.unwrap().retry_after().unwrap();
        let bound = Duration::from_secs(2 * 60);
        assert!(
            wait <= bound,
            "{algorithm}: `retry_after` is {wait:?}, expected at most {bound:?}"
        );
        let before = wait - Duration::from_micros(1);
        let first = Duration::from_millis(10);
        for part in [first, before - first] {
            clock.advance(part);
            let denial = limiter.check(&key, "r").await.unwrap();
            assert!(!denial.is_allowed(), "{algorithm}: allowed before `retry_after`");
        }
        clock.advance(Duration::from_micros(1));
        let decision = limiter.check(&key, "r").await.unwrap();
        assert!(decision.is_allowed(), "{algorithm}: denied after `retry_after`: {decision:?}");
        // The second round starts from a limit that is not used up.
        clock.advance(Duration::from_secs(300));
        limiter.replace_rule(Rule::per_minute("r", 200).algorithm(algorithm)).unwrap();
        limiter.check_cost(&key, "r", 150).await.unwrap();
    }
}

async fn the_excess_over_a_lower_burst_drains_at_the_old_rate(
    storage: &Arc<dyn AtomicStorage>,
    bucket: Algorithm,
) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("beyond");
    limiter.add_rule(Rule::per_minute("r", 100).algorithm(bucket)).unwrap();
    limiter.check_cost(&key, "r", 100).await.unwrap();
    limiter.replace_rule(Rule::per_minute("r", 10).algorithm(bucket)).unwrap();
    // 90 drain at 100 per minute, then one at 10 per minute.
    for (elapsed, left) in [(0, 60), (30, 30), (24, 6)] {
        clock.advance(Duration::from_secs(elapsed));
        let decision = limiter.check(&key, "r").await.unwrap();
        let expected = Some(Duration::from_secs(left));
        assert_eq!(
            decision.retry_after(),
            expected,
            "{bucket}: `retry_after` while the excess drains"
        );
    }
    clock.advance(Duration::from_secs(6));
    let decision = limiter.check(&key, "r").await.unwrap();
    assert_eq!(
        (decision.is_allowed(), decision.remaining()),
        (true, 0),
        "{bucket}: allowed, remaining"
    );
}

async fn servers_with_different_limits_allow_at_most_the_larger(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    const LARGER: u64 = 60;
    let (larger, clock) = limiter_at_2026(storage);
    let smaller = Limiter::builder(Arc::clone(storage)).clock(clock.clone()).build();
    larger.add_rule(Rule::per_minute("r", LARGER).algorithm(algorithm)).unwrap();
    smaller.add_rule(Rule::per_minute("r", 6).algorithm(algorithm)).unwrap();
    let key = unique("differ");
    let (mut allowed, mut refunded) = (0, 0);
    for second in 0..60 {
        for limiter in [&larger, &smaller] {
            for _ in 0..8 {
                allowed += u64::from(limiter.check(&key, "r").await.unwrap().is_allowed());
            }
        }
        if second % 10 == 0 {
            smaller.refund(&key, "r", 1).await.unwrap();
            refunded += 1;
        }
        clock.advance(Duration::from_secs(1));
    }
    // Within a minute: a full bucket and its refill, or two windows, and the refunds.
    let bound = 2 * LARGER + refunded;
    assert!(allowed <= bound, "{algorithm}: {allowed} allowed, expected at most {bound}");
    assert!(allowed >= LARGER, "{algorithm}: {allowed} allowed, expected at least {LARGER}");
}

async fn a_block_outlasts_a_change_of_algorithm(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("blocked");
    limiter.add_rule(Rule::per_second("r", 1).block(Duration::from_secs(9))).unwrap();
    for _ in 0..2 {
        limiter.check(&key, "r").await.unwrap();
    }
    limiter.replace_rule(Rule::per_second("r", 5).algorithm(Algorithm::LeakyBucket)).unwrap();
    let blocked = limiter.check(&key, "r").await.unwrap().is_blocked();
    assert!(blocked, "the key must stay blocked after a change of algorithm");
    clock.advance(Duration::from_secs(9));
    let allowed = limiter.check(&key, "r").await.unwrap().is_allowed();
    assert!(allowed, "the key must be allowed after the block");
}

async fn the_most_restrictive_rule_has_the_longest_wait_or_the_least_remaining(
    storage: &Arc<dyn AtomicStorage>,
) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("answer");
    limiter.add_rule(Rule::per_second("second", 5).algorithm(Algorithm::FixedWindow)).unwrap();
    limiter.add_rule(Rule::per_hour("hour", 5).algorithm(Algorithm::FixedWindow)).unwrap();
    limiter.add_rule(Rule::per_minute("minute", 50).algorithm(Algorithm::FixedWindow)).unwrap();
    let rules = ["minute", "second", "hour"];
    for left in (0..5).rev() {
        let decisions = limiter.check_all(&key, &rules).await.unwrap();
        let most_restrictive = decisions.most_restrictive();
        assert_eq!(
            (most_restrictive.rule(), most_restrictive.remaining()),
            ("hour", left),
            "of equal remaining, the rule with the later reset"
        );
        assert!(decisions.all().iter().map(|one| one.rule()).eq(rules), "all decisions, in order");
    }
    let denial = limiter.check_all(&key, &rules).await.unwrap();
    let one = denial.most_restrictive();
    let expected = ("hour", Some(Duration::from_secs(3600)));
    assert_eq!((one.rule(), one.retry_after()), expected, "of denials, the longest wait");
}
