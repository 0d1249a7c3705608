//! Refunds: to what was charged, and to nothing else.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Rule};

use crate::fixtures::{limiter_at_2026, unique};

const WINDOW: Duration = Duration::from_secs(10);

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    for algorithm in Algorithm::ALL {
        a_refund_undoes_a_charge(storage, algorithm).await;
        a_refund_of_an_old_charge_credits_no_later_one(storage, algorithm).await;
        a_refund_never_makes_more_than_the_limit(storage, algorithm).await;
        what_remains_is_allowed_at_once_and_one_more_is_not(storage, algorithm).await;
    }
    a_refund_reaches_back_as_far_as_the_charge_still_counts(storage).await;
    a_refund_after_others_takes_from_nobody(storage).await;
    who_leaves_a_queue_frees_its_place_and_its_turn(storage).await;
    4 * Algorithm::ALL.len() + 3
}

fn rule(algorithm: Algorithm) -> Rule {
    Rule::new("r", 10, WINDOW).algorithm(algorithm)
}

async fn a_refund_undoes_a_charge(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("undo");
    limiter.add_rule(rule(algorithm)).unwrap();
    limiter.check_cost(&key, "r", 2).await.unwrap();
    clock.advance(Duration::from_millis(10));
    let charged = limiter.check_cost(&key, "r", 5).await.unwrap();
    let before = limiter.peek(&key, "r").await.unwrap().remaining();
    limiter.rollback(&key, std::slice::from_ref(&charged)).await.unwrap();
    let after = limiter.peek(&key, "r").await.unwrap().remaining();
    assert_eq!(after, before + 5, "{algorithm}");

    limiter.refund(&key, "r", 1).await.unwrap();
    let after_last = limiter.peek(&key, "r").await.unwrap().remaining();
    assert_eq!(after_last, after + 1, "{algorithm}: without a receipt, the latest charge");
}

async fn a_refund_of_an_old_charge_credits_no_later_one(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("late");
    limiter.add_rule(rule(algorithm)).unwrap();
    let old = limiter.check_cost(&key, "r", 4).await.unwrap();
    clock.advance(2 * WINDOW);
    limiter.check_cost(&key, "r", 6).await.unwrap();
    let before = limiter.peek(&key, "r").await.unwrap();
    limiter.rollback(&key, &[old]).await.unwrap();
    let after = limiter.peek(&key, "r").await.unwrap();
    assert_eq!(after.remaining(), before.remaining(), "{algorithm}");
    assert_eq!(after.reset_after(), before.reset_after(), "{algorithm}");
}

async fn a_refund_never_makes_more_than_the_limit(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("over");
    limiter.add_rule(rule(algorithm)).unwrap();
    let charged = limiter.check_cost(&key, "r", 3).await.unwrap();
    for _ in 0..3 {
        limiter.rollback(&key, std::slice::from_ref(&charged)).await.unwrap();
        limiter.refund(&key, "r", 1_000_000).await.unwrap();
    }
    let decision = limiter.peek(&key, "r").await.unwrap();
    assert_eq!(decision.remaining(), 10, "{algorithm}");
    assert_eq!(decision.reset_after(), Duration::ZERO, "{algorithm}");
    assert!(limiter.check_cost(&key, "r", 10).await.unwrap().is_allowed());
    assert!(!limiter.check(&key, "r").await.unwrap().is_allowed(), "{algorithm}");
}

async fn what_remains_is_allowed_at_once_and_one_more_is_not(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    for gone in 0..4 {
        let (limiter, clock) = limiter_at_2026(storage);
        let key = unique("batch");
        limiter.add_rule(rule(algorithm)).unwrap();
        let mut charged = Vec::new();
        for cost in [1, 4, 2, 1] {
            charged.push(limiter.check_cost(&key, "r", cost).await.unwrap());
            clock.advance(WINDOW / 100);
        }
        limiter.rollback(&key, &charged[gone..=gone]).await.unwrap();
        let told = limiter.peek(&key, "r").await.unwrap().remaining();
        let more = limiter.check_cost(&key, "r", told + 1).await.unwrap();
        assert!(!more.is_allowed(), "{algorithm}: {} of {told}", told + 1);
        let batch = limiter.check_cost(&key, "r", told).await.unwrap();
        assert!(batch.is_allowed(), "{algorithm}: {told} of {told}");
    }
}

async fn a_refund_reaches_back_as_far_as_the_charge_still_counts(storage: &Arc<dyn AtomicStorage>) {
    for (algorithm, before, after) in [
        // The previous window counts for 0.8 of itself: 10 − 4·0.8 = 6.8, and all after the refund.
        (Algorithm::SlidingWindowCounter, 6, 10),
        // 4 were taken 12 seconds ago, at 10 in 10 seconds: long refilled.
        (Algorithm::TokenBucket, 10, 10),
    ] {
        let (limiter, clock) = limiter_at_2026(storage);
        let key = unique("reach");
        limiter.add_rule(rule(algorithm)).unwrap();
        let charged = limiter.check_cost(&key, "r", 4).await.unwrap();
        clock.advance(WINDOW + WINDOW / 5);
        assert_eq!(limiter.peek(&key, "r").await.unwrap().remaining(), before, "{algorithm}");
        limiter.rollback(&key, &[charged]).await.unwrap();
        assert_eq!(limiter.peek(&key, "r").await.unwrap().remaining(), after, "{algorithm}");
    }
}

/// What others were given back has let a charge drain earlier than its receipt says.
async fn a_refund_after_others_takes_from_nobody(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("after");
    limiter.add_rule(rule(Algorithm::TokenBucket)).unwrap();
    let mut charged = Vec::new();
    for _ in 0..5 {
        charged.push(limiter.check_cost(&key, "r", 2).await.unwrap());
    }
    for early in &charged[..4] {
        limiter.reconcile(&key, std::slice::from_ref(early), 1).await.unwrap();
    }
    clock.advance(WINDOW * 6 / 10);
    assert!(limiter.check_cost(&key, "r", 10).await.unwrap().is_allowed(), "all has drained");
    limiter.rollback(&key, &charged[4..]).await.unwrap();
    assert_eq!(limiter.peek(&key, "r").await.unwrap().remaining(), 0);
}

async fn who_leaves_a_queue_frees_its_place_and_its_turn(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("queue");
    limiter.add_rule(rule(Algorithm::LeakyBucket)).unwrap();
    let mut queue = Vec::new();
    for _ in 0..10 {
        queue.push(limiter.check(&key, "r").await.unwrap());
    }
    assert!(!limiter.check(&key, "r").await.unwrap().is_allowed());
    limiter.rollback(&key, &queue[3..4]).await.unwrap();
    let next = limiter.check(&key, "r").await.unwrap();
    assert_eq!(next.delay(), queue[3].delay(), "those behind keep their turns");
    assert!(!limiter.check(&key, "r").await.unwrap().is_allowed());

    for gone in [7, 8, 9] {
        limiter.rollback(&key, &queue[gone..=gone]).await.unwrap();
    }
    let told = limiter.peek(&key, "r").await.unwrap();
    assert_eq!((told.remaining(), told.reset_after()), (3, queue[7].delay()), "it is shorter");
    limiter.refund(&key, "r", 2).await.unwrap();
    assert_eq!(limiter.peek(&key, "r").await.unwrap().delay(), queue[5].delay());
}
