//! Waiting for one's turn instead of being refused.

use std::time::Duration;

use throttle_core::{Algorithm, Clock, Decision, Error, Limiter, ManualClock, Rule, SystemClock};
use throttle_memory::MemoryStorage;
use tokio::task::JoinHandle;

use crate::{MICRO, SECOND, limiter};

pub(crate) type Waiter = JoinHandle<Result<Decision, Error>>;

/// Starts a wait, and lets it come as far as it can.
pub(crate) async fn wait(limiter: &Limiter, key: &'static str) -> Waiter {
    let limiter = limiter.clone();
    let waiter = tokio::spawn(async move { limiter.until_ready(key, "out").await });
    let_others_run().await;
    waiter
}

/// In a runtime of one thread: all others run until they wait.
pub(crate) async fn let_others_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Asserts that a wait ends after `span` of the clock and not a microsecond earlier.
async fn ends_after(waiter: Waiter, clock: &ManualClock, span: Duration) -> Decision {
    assert!(!waiter.is_finished(), "at once");
    clock.advance(span - MICRO);
    let_others_run().await;
    assert!(!waiter.is_finished(), "one microsecond early");
    clock.advance(MICRO);
    let_others_run().await;
    assert!(waiter.is_finished(), "still waiting after {span:?}");
    waiter.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_wait_ends_exactly_when_the_cost_is_admitted() {
    for algorithm in Algorithm::ALL {
        let (limiter, clock) = limiter([Rule::per_second("out", 7).algorithm(algorithm)]);
        clock.advance(SECOND / 4);
        let told = loop {
            let decision = limiter.check("k", "out").await.unwrap();
            if let Some(wait) = decision.retry_after() {
                break wait;
            }
        };
        let waiter = wait(&limiter, "k").await;
        // A leaky bucket admits it then, to the end of a queue that is a whole window long.
        let leaky = algorithm == Algorithm::LeakyBucket;
        let decision = ends_after(waiter, &clock, if leaky { SECOND } else { told }).await;
        assert!(decision.is_allowed(), "{algorithm}");
    }
}

#[tokio::test]
async fn what_is_admitted_at_once_does_not_wait() {
    let (limiter, _) = limiter([Rule::per_second("out", 2)]);
    for left in [1, 0] {
        let waiter = wait(&limiter, "k").await;
        assert!(waiter.is_finished());
        assert_eq!(waiter.await.unwrap().unwrap().remaining(), left);
    }
}

#[tokio::test]
async fn a_leaky_bucket_lets_calls_leave_evenly() {
    let (limiter, clock) = limiter([Rule::per_second("out", 10).algorithm(Algorithm::LeakyBucket)]);
    let first = wait(&limiter, "k").await;
    assert!(first.is_finished(), "the first has its turn at once");
    let (second, third) = (wait(&limiter, "k").await, wait(&limiter, "k").await);
    let decision = ends_after(second, &clock, SECOND / 10).await;
    assert_eq!(decision.delay(), SECOND / 10);
    let decision = ends_after(third, &clock, SECOND / 10).await;
    assert_eq!(decision.delay(), SECOND / 5);
}

#[tokio::test]
async fn waiters_pass_one_after_another_and_none_twice() {
    let rule = Rule::per_second("out", 1).algorithm(Algorithm::TokenBucket);
    let (limiter, clock) = limiter([rule]);
    let mut waiters = Vec::new();
    for _ in 0..4 {
        waiters.push(wait(&limiter, "k").await);
    }
    for passed in 1..=4 {
        assert_eq!(waiters.iter().filter(|one| one.is_finished()).count(), passed);
        clock.advance(SECOND);
        let_others_run().await;
    }
    for waiter in waiters {
        assert!(waiter.await.unwrap().unwrap().is_allowed());
    }
}

#[tokio::test]
async fn a_wait_shuts_nobody_out_and_is_no_violation() {
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
async fn a_wait_for_a_key_that_is_shut_lasts_until_it_opens() {
    let (limiter, clock) = limiter([Rule::per_second("out", 1).block(60 * SECOND)]);
    limiter.check("k", "out").await.unwrap();
    assert!(limiter.check("k", "out").await.unwrap().is_blocked());
    let waiter = wait(&limiter, "k").await;
    ends_after(waiter, &clock, 60 * SECOND).await;
}

#[tokio::test]
async fn a_wait_that_cannot_help_returns_the_denial() {
    let (limiter, _) = limiter([Rule::per_second("out", 1)]);
    limiter.deny_list().add("k").unwrap();
    let waiter = wait(&limiter, "k").await;
    assert!(waiter.is_finished());
    let denial = waiter.await.unwrap().unwrap();
    assert!(!denial.is_allowed() && denial.retry_after().is_none());
}

#[tokio::test]
async fn a_wait_goes_by_the_lists() {
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
async fn a_rule_that_is_removed_ends_the_wait_with_an_error() {
    let (limiter, clock) = limiter([Rule::per_hour("out", 1), Rule::per_hour("other", 1)]);
    limiter.check("k", "out").await.unwrap();
    let waiter = wait(&limiter, "k").await;
    limiter.remove_rule("out");
    clock.advance(3 * 3_600 * SECOND);
    let_others_run().await;
    assert!(waiter.is_finished(), "it waits for a rule that is not there");
    assert!(matches!(waiter.await.unwrap(), Err(Error::UnknownRule { .. })));
}

#[tokio::test]
async fn a_wait_goes_on_by_the_rule_that_is_there_when_it_ends() {
    let rule = |limit| Rule::per_second("out", limit).algorithm(Algorithm::SlidingWindowLog);
    let (limiter, clock) = limiter([rule(2)]);
    limiter.check("k", "out").await.unwrap();
    clock.advance(SECOND / 2);
    limiter.check("k", "out").await.unwrap();
    let waiter = wait(&limiter, "k").await;
    limiter.replace_rule(rule(1)).unwrap();
    // By the new rule the later of the two has to go as well.
    ends_after(waiter, &clock, SECOND).await;
}

#[tokio::test]
async fn a_wait_that_is_dropped_has_charged_nothing() {
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
async fn without_a_clock_of_its_own_a_limiter_waits_by_the_machines() {
    let limiter = Limiter::new(MemoryStorage::new());
    let rule = Rule::new("out", 1, Duration::from_millis(60)).algorithm(Algorithm::TokenBucket);
    limiter.add_rule(rule).unwrap();
    let begun = SystemClock.now();
    for _ in 0..3 {
        assert!(limiter.until_ready("k", "out").await.unwrap().is_allowed());
    }
    assert!(SystemClock.now().since(begun).get() >= 120_000, "two waits of 60 ms");
}
