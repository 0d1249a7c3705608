//! Requests that wait instead of being rejected.

use std::time::Duration;

use throttle_core::{Algorithm, Clock, Decision, Error, Limiter, ManualClock, Rule, SystemClock};
use throttle_memory::MemoryStorage;
use tokio::task::JoinHandle;

use crate::{MICRO, SECOND, limiter};

pub(crate) type Waiter = JoinHandle<Result<Decision, Error>>;

/// Starts a wait, and runs it until it blocks.
pub(crate) async fn wait(limiter: &Limiter, key: &'static str) -> Waiter {
    let limiter = limiter.clone();
    let waiter = tokio::spawn(async move { limiter.until_ready(key, "out").await });
    let_others_run().await;
    waiter
}

/// Runs all other tasks until they block; needs a runtime with a single thread.
pub(crate) async fn let_others_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Asserts that a wait ends after exactly `span` on the clock.
async fn ends_after(waiter: Waiter, clock: &ManualClock, span: Duration) -> Decision {
    assert!(!waiter.is_finished(), "ended at once");
    clock.advance(span - MICRO);
    let_others_run().await;
    assert!(!waiter.is_finished(), "ended one microsecond early");
    clock.advance(MICRO);
    let_others_run().await;
    assert!(waiter.is_finished(), "still waiting after {span:?}");
    waiter.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_wait_ends_exactly_when_the_cost_is_allowed() {
    for algorithm in Algorithm::ALL {
        let (limiter, clock) = limiter([Rule::per_second("out", 7).algorithm(algorithm)]);
        clock.advance(SECOND / 4);
        let expected = loop {
            let decision = limiter.check("k", "out").await.unwrap();
            if let Some(wait) = decision.retry_after() {
                break wait;
            }
        };
        let waiter = wait(&limiter, "k").await;
        // A leaky bucket then adds it to the end of a queue, which is a whole window long.
        let leaky = algorithm == Algorithm::LeakyBucket;
        let decision = ends_after(waiter, &clock, if leaky { SECOND } else { expected }).await;
        assert!(decision.is_allowed(), "{algorithm}");
    }
}

#[tokio::test]
async fn an_allowed_request_does_not_wait() {
    let (limiter, _) = limiter([Rule::per_second("out", 2)]);
    for left in [1, 0] {
        let waiter = wait(&limiter, "k").await;
        assert!(waiter.is_finished());
        assert_eq!(waiter.await.unwrap().unwrap().remaining(), left);
    }
}

#[tokio::test]
async fn a_leaky_bucket_spaces_calls_at_a_constant_rate() {
    let (limiter, clock) = limiter([Rule::per_second("out", 10).algorithm(Algorithm::LeakyBucket)]);
    let first = wait(&limiter, "k").await;
    assert!(first.is_finished(), "the first must not wait");
    let (second, third) = (wait(&limiter, "k").await, wait(&limiter, "k").await);
    let decision = ends_after(second, &clock, SECOND / 10).await;
    assert_eq!(decision.delay(), SECOND / 10);
    let decision = ends_after(third, &clock, SECOND / 10).await;
    assert_eq!(decision.delay(), SECOND / 5);
}

#[tokio::test]
async fn waiters_are_allowed_one_by_one() {
    let rule = Rule::per_second("out", 1).algorithm(Algorithm::TokenBucket);
    let (limiter, clock) = limiter([rule]);
    let mut waiters = Vec::new();
    for _ in 0..4 {
        waiters.push(wait(&limiter, "k").await);
    }
    for ended in 1..=4 {
        assert_eq!(waiters.iter().filter(|one| one.is_finished()).count(), ended);
        clock.advance(SECOND);
        let_others_run().await;
    }
    for waiter in waiters {
        assert!(waiter.await.unwrap().unwrap().is_allowed());
    }
}

#[tokio::test]
async fn a_wait_does_not_block_its_key_and_is_not_a_violation() {
    let rule = Rule::per_second("out", 1).block(60 * SECOND).algorithm(Algorithm::TokenBucket);
    let (limiter, clock) = limiter([rule]);
    limiter.check("k", "out").await.unwrap();
    let waiter = wait(&limiter, "k").await;
    assert!(!limiter.peek("k", "out").await.unwrap().is_blocked());
    ends_after(waiter, &clock, SECOND).await;
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.allowed, metrics.denied), (2, 2, 0));
    assert_eq!((metrics.violations, metrics.recent_violations.len()), (0, 0));
}

#[tokio::test]
async fn a_wait_for_a_blocked_key_lasts_until_the_block_ends() {
    let (limiter, clock) = limiter([Rule::per_second("out", 1).block(60 * SECOND)]);
    limiter.check("k", "out").await.unwrap();
    assert!(limiter.check("k", "out").await.unwrap().is_blocked());
    let waiter = wait(&limiter, "k").await;
    ends_after(waiter, &clock, 60 * SECOND).await;
}

#[tokio::test]
async fn a_permanent_denial_is_returned_without_a_wait() {
    let (limiter, _) = limiter([Rule::per_second("out", 1)]);
    limiter.deny_list().add("k").unwrap();
    let waiter = wait(&limiter, "k").await;
    assert!(waiter.is_finished());
    let denial = waiter.await.unwrap().unwrap();
    assert!(!denial.is_allowed() && denial.retry_after().is_none());
}

#[tokio::test]
async fn a_wait_respects_the_lists() {
    let (limiter, clock) = limiter([Rule::per_second("out", 1)]);
    limiter.allow_list().add("friend").unwrap();
    limiter.deny_list().add_for("k", 5 * SECOND).unwrap();
    for _ in 0..3 {
        assert!(wait(&limiter, "friend").await.is_finished());
    }
    let waiter = wait(&limiter, "k").await;
    assert!(ends_after(waiter, &clock, 5 * SECOND).await.is_allowed());
}

#[tokio::test]
async fn removing_the_rule_ends_the_wait_with_an_error() {
    let (limiter, clock) = limiter([Rule::per_hour("out", 1), Rule::per_hour("other", 1)]);
    limiter.check("k", "out").await.unwrap();
    let waiter = wait(&limiter, "k").await;
    limiter.remove_rule("out");
    clock.advance(3 * 3_600 * SECOND);
    let_others_run().await;
    assert!(waiter.is_finished(), "still waiting for a removed rule");
    assert!(matches!(waiter.await.unwrap(), Err(Error::UnknownRule { .. })));
}

#[tokio::test]
async fn a_wait_adopts_a_replaced_rule() {
    let rule = |limit| Rule::per_second("out", limit).algorithm(Algorithm::SlidingWindowLog);
    let (limiter, clock) = limiter([rule(2)]);
    limiter.check("k", "out").await.unwrap();
    clock.advance(SECOND / 2);
    limiter.check("k", "out").await.unwrap();
    let waiter = wait(&limiter, "k").await;
    limiter.replace_rule(rule(1)).unwrap();
    // With the new rule, both earlier requests must have left the window.
    ends_after(waiter, &clock, SECOND).await;
}

#[tokio::test]
async fn a_dropped_wait_charges_nothing() {
    let rule = Rule::per_second("out", 1).algorithm(Algorithm::TokenBucket);
    let (limiter, clock) = limiter([rule]);
    limiter.check("k", "out").await.unwrap();
    let waiter = wait(&limiter, "k").await;
    waiter.abort();
    clock.advance(SECOND);
    let_others_run().await;
    assert!(limiter.check("k", "out").await.unwrap().is_allowed());
}

#[tokio::test]
async fn without_a_manual_clock_a_limiter_waits_in_real_time() {
    let limiter = Limiter::new(MemoryStorage::new());
    let rule = Rule::new("out", 1, Duration::from_millis(60)).algorithm(Algorithm::TokenBucket);
    limiter.add_rule(rule).unwrap();
    let begun = SystemClock.now();
    for _ in 0..3 {
        assert!(limiter.until_ready("k", "out").await.unwrap().is_allowed());
    }
    assert!(SystemClock.now().since(begun).get() >= 120_000, "two waits of 60 ms");
}

#[tokio::test]
async fn a_cost_is_waited_for_and_charged() {
    for (algorithm, wait) in [(Algorithm::TokenBucket, 3), (Algorithm::LeakyBucket, 4)] {
        let rule = Rule::new("out", 1, SECOND).algorithm(algorithm).burst(7);
        let (limiter, clock) = limiter([rule]);
        limiter.check_cost("k", "out", 4).await.unwrap();
        if algorithm == Algorithm::TokenBucket {
            limiter.check_cost("k", "out", 3).await.unwrap();
        }
        let waiting = limiter.clone();
        let call = tokio::spawn(async move { waiting.until_ready_cost("k", "out", 3).await });
        let_others_run().await;
        let decision = ends_after(call, &clock, wait * SECOND).await;
        assert_eq!((decision.is_allowed(), decision.cost()), (true, 3), "{algorithm}");
    }
}
