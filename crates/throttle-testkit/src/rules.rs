//! Several rules at once, blocks, resets, and rules that change.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Limiter, Rule};

use crate::fixtures::{limiter_at_2026, unique};

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    for algorithm in Algorithm::ALL {
        a_rule_that_admits_is_not_charged_when_another_denies(storage, algorithm).await;
        a_reset_frees_a_key_and_opens_it(storage, algorithm).await;
        a_block_ends(storage, algorithm).await;
        a_new_limit_keeps_what_was_counted(storage, algorithm).await;
        a_limit_that_was_lowered_admits_when_it_says(storage, algorithm).await;
        while_servers_differ_no_more_passes_than_by_the_larger_limit(storage, algorithm).await;
    }
    for bucket in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
        what_a_lower_burst_has_no_room_for_drains_as_before(storage, bucket).await;
    }
    what_is_shut_stays_shut_under_another_algorithm(storage).await;
    the_answer_is_the_longest_denial_or_the_least_remaining(storage).await;
    6 * Algorithm::ALL.len() + 4
}

async fn a_rule_that_admits_is_not_charged_when_another_denies(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("all");
    limiter.add_rule(Rule::per_day("wide", 100).algorithm(algorithm)).unwrap();
    limiter.add_rule(Rule::per_day("narrow", 2).algorithm(algorithm)).unwrap();
    for turn in 0..5 {
        for rules in [["wide", "narrow"], ["narrow", "wide"]] {
            let decisions = limiter.check_all(&key, &rules).await.unwrap();
            assert_eq!(decisions.is_allowed(), turn == 0, "{algorithm}");
            assert_eq!(decisions.most_restrictive().rule(), "narrow");
            let wide = decisions.all().iter().find(|one| one.rule() == "wide").unwrap();
            assert!(wide.is_allowed(), "{algorithm}: the wide rule never denies");
        }
    }
    assert_eq!(limiter.peek(&key, "wide").await.unwrap().remaining(), 98, "{algorithm}");
}

async fn a_reset_frees_a_key_and_opens_it(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("reset");
    let rule = Rule::per_hour("r", 3).algorithm(algorithm).block(Duration::from_secs(7200));
    limiter.add_rule(rule).unwrap();
    for _ in 0..4 {
        limiter.check(&key, "r").await.unwrap();
    }
    assert!(limiter.peek(&key, "r").await.unwrap().is_blocked(), "{algorithm}");
    limiter.reset(&key, "r").await.unwrap();
    let decision = limiter.check(&key, "r").await.unwrap();
    assert_eq!((decision.is_allowed(), decision.remaining()), (true, 2), "{algorithm}");
}

async fn a_block_ends(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("block");
    let span = Duration::from_secs(5);
    let rule = Rule::per_second("r", 1).algorithm(algorithm).block(span);
    limiter.add_rule(rule).unwrap();
    limiter.check(&key, "r").await.unwrap();
    let denial = limiter.check(&key, "r").await.unwrap();
    assert!(denial.is_blocked() && denial.retry_after() == Some(span), "{algorithm}: {denial:?}");
    clock.advance(span - Duration::from_micros(1));
    let denial = limiter.check(&key, "r").await.unwrap();
    assert_eq!(denial.retry_after(), Some(Duration::from_micros(1)), "{algorithm}: no extension");
    clock.advance(Duration::from_micros(1));
    assert!(limiter.check(&key, "r").await.unwrap().is_allowed(), "{algorithm}: the ban ends");
}

async fn a_new_limit_keeps_what_was_counted(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("replace");
    limiter.add_rule(Rule::per_day("r", 10).algorithm(algorithm)).unwrap();
    limiter.check_cost(&key, "r", 6).await.unwrap();
    limiter.replace_rule(Rule::per_day("r", 20).algorithm(algorithm)).unwrap();
    assert_eq!(limiter.peek(&key, "r").await.unwrap().remaining(), 14, "{algorithm}: raised");
    limiter.replace_rule(Rule::per_day("r", 5).algorithm(algorithm)).unwrap();
    let decision = limiter.check(&key, "r").await.unwrap();
    assert!(!decision.is_allowed() && decision.remaining() == 0, "{algorithm}: lowered");
    assert!(decision.retry_after().unwrap() <= Duration::from_secs(2 * 86_400), "{algorithm}");
    let two_days = Rule::new("r", 5, Duration::from_secs(2 * 86_400)).algorithm(algorithm);
    limiter.replace_rule(two_days).unwrap();
    assert!(!limiter.check(&key, "r").await.unwrap().is_allowed(), "{algorithm}: another window");
}

async fn a_limit_that_was_lowered_admits_when_it_says(
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
        assert!(wait <= Duration::from_secs(2 * 60), "{algorithm}: {wait:?}");
        let before = wait - Duration::from_micros(1);
        let first = Duration::from_millis(10);
        for part in [first, before - first] {
            clock.advance(part);
            let denial = limiter.check(&key, "r").await.unwrap();
            assert!(!denial.is_allowed(), "{algorithm}: too early");
        }
        clock.advance(Duration::from_micros(1));
        let decision = limiter.check(&key, "r").await.unwrap();
        assert!(decision.is_allowed(), "{algorithm}: after {wait:?}, {decision:?}");
        // Once more, from a limit that is not used up.
        clock.advance(Duration::from_secs(300));
        limiter.replace_rule(Rule::per_minute("r", 200).algorithm(algorithm)).unwrap();
        limiter.check_cost(&key, "r", 150).await.unwrap();
    }
}

async fn what_a_lower_burst_has_no_room_for_drains_as_before(
    storage: &Arc<dyn AtomicStorage>,
    bucket: Algorithm,
) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("beyond");
    limiter.add_rule(Rule::per_minute("r", 100).algorithm(bucket)).unwrap();
    limiter.check_cost(&key, "r", 100).await.unwrap();
    limiter.replace_rule(Rule::per_minute("r", 10).algorithm(bucket)).unwrap();
    // 90 of them by 100 a minute, then one by 10 a minute.
    for (gone, left) in [(0, 60), (30, 30), (24, 6)] {
        clock.advance(Duration::from_secs(gone));
        let decision = limiter.check(&key, "r").await.unwrap();
        assert_eq!(decision.retry_after(), Some(Duration::from_secs(left)), "{bucket}");
    }
    clock.advance(Duration::from_secs(6));
    let decision = limiter.check(&key, "r").await.unwrap();
    assert_eq!((decision.is_allowed(), decision.remaining()), (true, 0), "{bucket}");
}

async fn while_servers_differ_no_more_passes_than_by_the_larger_limit(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    const LARGER: u64 = 60;
    let (larger, clock) = limiter_at_2026(storage);
    let smaller = Limiter::builder(Arc::clone(storage)).clock(clock.clone()).build();
    larger.add_rule(Rule::per_minute("r", LARGER).algorithm(algorithm)).unwrap();
    smaller.add_rule(Rule::per_minute("r", 6).algorithm(algorithm)).unwrap();
    let key = unique("differ");
    let (mut passed, mut given_back) = (0, 0);
    for second in 0..60 {
        for limiter in [&larger, &smaller] {
            for _ in 0..8 {
                passed += u64::from(limiter.check(&key, "r").await.unwrap().is_allowed());
            }
        }
        if second % 10 == 0 {
            smaller.refund(&key, "r", 1).await.unwrap();
            given_back += 1;
        }
        clock.advance(Duration::from_secs(1));
    }
    // A minute of a bucket, or two windows: the full limit and what comes back.
    assert!(passed <= 2 * LARGER + given_back, "{algorithm}: {passed}, {given_back} given back");
    assert!(passed >= LARGER, "{algorithm}: {passed}");
}

async fn what_is_shut_stays_shut_under_another_algorithm(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("shut");
    limiter.add_rule(Rule::per_second("r", 1).block(Duration::from_secs(9))).unwrap();
    for _ in 0..2 {
        limiter.check(&key, "r").await.unwrap();
    }
    limiter.replace_rule(Rule::per_second("r", 5).algorithm(Algorithm::LeakyBucket)).unwrap();
    assert!(limiter.check(&key, "r").await.unwrap().is_blocked());
    clock.advance(Duration::from_secs(9));
    assert!(limiter.check(&key, "r").await.unwrap().is_allowed());
}

async fn the_answer_is_the_longest_denial_or_the_least_remaining(storage: &Arc<dyn AtomicStorage>) {
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
            "the later reset"
        );
        assert!(decisions.all().iter().map(|one| one.rule()).eq(rules), "all, in order");
    }
    let denial = limiter.check_all(&key, &rules).await.unwrap();
    assert!(!denial.is_allowed());
    assert_eq!(denial.most_restrictive().rule(), "hour", "the longest wait");
    assert_eq!(denial.most_restrictive().retry_after(), Some(Duration::from_secs(3600)));
}
