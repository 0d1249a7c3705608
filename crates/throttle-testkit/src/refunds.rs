//! Refunds: each affects only its own charge.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Rule};

use crate::fixtures::{limiter_at_2026, unique};

const WINDOW: Duration = Duration::from_secs(10);

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    for algorithm in Algorithm::ALL {
        a_refund_undoes_a_charge(storage, algorithm).await;
        a_refund_of_an_old_charge_does_not_credit_later_ones(storage, algorithm).await;
        a_refund_never_exceeds_the_limit(storage, algorithm).await;
        exactly_the_remaining_cost_is_allowed_in_one_request(storage, algorithm).await;
    }
    a_refund_applies_while_its_charge_still_counts(storage).await;
    a_refund_does_not_affect_other_charges(storage).await;
    a_refund_in_a_queue_frees_its_slot(storage).await;
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
    assert_eq!(after, before + 5, "{algorithm}: remaining after the rollback of a charge of 5");

    limiter.refund(&key, "r", 1).await.unwrap();
    let after_last = limiter.peek(&key, "r").await.unwrap().remaining();
    assert_eq!(
        after_last,
        after + 1,
        "{algorithm}: without a receipt, a refund applies to the latest charge"
    );
}

async fn a_refund_of_an_old_charge_does_not_credit_later_ones(
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
    let why = "a refund of an old charge must change nothing";
    assert_eq!(after.remaining(), before.remaining(), "{algorithm}: {why}");
    assert_eq!(after.reset_after(), before.reset_after(), "{algorithm}: {why}");
}

async fn a_refund_never_exceeds_the_limit(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("over");
    limiter.add_rule(rule(algorithm)).unwrap();
    let charged = limiter.check_cost(&key, "r", 3).await.unwrap();
    for _ in 0..3 {
        limiter.rollback(&key, std::slice::from_ref(&charged)).await.unwrap();
        limiter.refund(&key, "r", 1_000_000).await.unwrap();
    }
    let decision = limiter.peek(&key, "r").await.unwrap();
    let state = (decision.remaining(), decision.reset_after());
    assert_eq!(state, (10, Duration::ZERO), "{algorithm}: refunds must restore exactly the limit");
    let all = limiter.check_cost(&key, "r", 10).await.unwrap();
    assert!(all.is_allowed(), "{algorithm}: the whole limit must be allowed");
    let more = limiter.check(&key, "r").await.unwrap();
    assert!(!more.is_allowed(), "{algorithm}: excess refunds must not raise the limit");
}

async fn exactly_the_remaining_cost_is_allowed_in_one_request(
    storage: &Arc<dyn AtomicStorage>,
    algorithm: Algorithm,
) {
    for refunded in 0..4 {
        let (limiter, clock) = limiter_at_2026(storage);
        let key = unique("batch");
        limiter.add_rule(rule(algorithm)).unwrap();
        let mut charged = Vec::new();
        for cost in [1, 4, 2, 1] {
            charged.push(limiter.check_cost(&key, "r", cost).await.unwrap());
            clock.advance(WINDOW / 100);
        }
        limiter.rollback(&key, &charged[refunded..=refunded]).await.unwrap();
        let remaining = limiter.peek(&key, "r").await.unwrap().remaining();
        let more = limiter.check_cost(&key, "r", remaining + 1).await.unwrap();
        assert!(
            !more.is_allowed(),
            "{algorithm}: {} allowed, {remaining} remaining",
            remaining + 1
        );
        let batch = limiter.check_cost(&key, "r", remaining).await.unwrap();
        assert!(batch.is_allowed(), "{algorithm}: {remaining} denied, {remaining} remaining");
    }
}

async fn a_refund_applies_while_its_charge_still_counts(storage: &Arc<dyn AtomicStorage>) {
    for (algorithm, before, after) in [
        // The previous window has a weight of 0.8: 10 − 4·0.8 = 6.8 remain, and 10 after the refund.
        (Algorithm::SlidingWindowCounter, 6, 10),
        // 4 tokens were charged 12 seconds ago and have been refilled, at 10 in 10 seconds.
        (Algorithm::TokenBucket, 10, 10),
    ] {
        let (limiter, clock) = limiter_at_2026(storage);
        let key = unique("reach");
        limiter.add_rule(rule(algorithm)).unwrap();
        let charged = limiter.check_cost(&key, "r", 4).await.unwrap();
        clock.advance(WINDOW + WINDOW / 5);
        let remaining = limiter.peek(&key, "r").await.unwrap().remaining();
        assert_eq!(remaining, before, "{algorithm}: remaining before the refund");
        limiter.rollback(&key, &[charged]).await.unwrap();
        let remaining = limiter.peek(&key, "r").await.unwrap().remaining();
        assert_eq!(remaining, after, "{algorithm}: remaining after the refund");
    }
}

/// Refunds of earlier charges make the last charge drain before the time in its receipt.
async fn a_refund_does_not_affect_other_charges(storage: &Arc<dyn AtomicStorage>) {
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
    assert!(
        limiter.check_cost(&key, "r", 10).await.unwrap().is_allowed(),
        "the bucket must be full again"
    );
    limiter.rollback(&key, &charged[4..]).await.unwrap();
    let remaining = limiter.peek(&key, "r").await.unwrap().remaining();
    assert_eq!(remaining, 0, "a refund of a drained charge must not credit a later one");
}

async fn a_refund_in_a_queue_frees_its_slot(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("queue");
    limiter.add_rule(rule(Algorithm::LeakyBucket)).unwrap();
    let mut queue = Vec::new();
    for _ in 0..10 {
        queue.push(limiter.check(&key, "r").await.unwrap());
    }
    assert!(!limiter.check(&key, "r").await.unwrap().is_allowed(), "the queue must be full");
    limiter.rollback(&key, &queue[3..4]).await.unwrap();
    let next = limiter.check(&key, "r").await.unwrap();
    assert_eq!(next.delay(), queue[3].delay(), "the next request must get the freed slot");
    assert!(!limiter.check(&key, "r").await.unwrap().is_allowed(), "the queue must be full again");

    for last in [7, 8, 9] {
        limiter.rollback(&key, &queue[last..=last]).await.unwrap();
    }
    let peeked = limiter.peek(&key, "r").await.unwrap();
    let expected = (3, queue[7].delay());
    assert_eq!(
        (peeked.remaining(), peeked.reset_after()),
        expected,
        "a refund of the last requests must shorten the queue"
    );
    limiter.refund(&key, "r", 2).await.unwrap();
    let delay = limiter.peek(&key, "r").await.unwrap().delay();
    assert_eq!(delay, queue[5].delay(), "a refund without a receipt must shorten the queue");
}
