//! Many concurrent tasks on a few keys: exactly the limit is allowed.

use std::{future::Future, sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Rule};

use crate::fixtures::{limiter_at_2026, unique};

const TASKS: u64 = 32;
const EACH: u64 = 40;

/// Runs the checks; `other` must share the limits of `storage`.
pub(crate) async fn check(
    storage: &Arc<dyn AtomicStorage>,
    other: &Arc<dyn AtomicStorage>,
) -> usize {
    for algorithm in Algorithm::ALL {
        one_key(storage, algorithm).await;
        one_key_with_costs(storage, algorithm).await;
        many_keys(storage, algorithm).await;
        two_rules(storage, algorithm).await;
        with_refunds(storage, algorithm).await;
        two_limiters([storage, other], algorithm).await;
    }
    while_time_passes(storage).await;
    6 * Algorithm::ALL.len() + 1
}

async fn one_key(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("one");
    limiter.add_rule(Rule::per_hour("r", 500).algorithm(algorithm)).unwrap();
    let allowed = spawn(move |_| {
        let (limiter, key) = (limiter.clone(), key.clone());
        async move { u64::from(limiter.check(&key, "r").await.unwrap().is_allowed()) }
    });
    assert_eq!(allowed.await, 500, "{algorithm}: allowed of {} requests on one key", TASKS * EACH);
}

async fn one_key_with_costs(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("costs");
    limiter.add_rule(Rule::per_hour("r", 1000).algorithm(algorithm)).unwrap();
    let (own, of_all) = (limiter.clone(), key.clone());
    let charged = spawn(move |n| {
        let (limiter, key, cost) = (own.clone(), of_all.clone(), n % 7 + 1);
        async move {
            let decision = limiter.check_cost(&key, "r", cost).await.unwrap();
            if decision.is_allowed() { cost } else { 0 }
        }
    });
    let left = limiter.peek(&key, "r").await.unwrap().remaining();
    assert_eq!(charged.await, 1000, "{algorithm}: requests of cost 1 use up the rest");
    let after = limiter.peek(&key, "r").await.unwrap().remaining();
    assert!(left <= 1000 && after == 0, "{algorithm}: {after} remaining, expected 0");
}

async fn many_keys(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    const KEYS: u64 = 16;
    let (limiter, _) = limiter_at_2026(storage);
    let base = unique("keys");
    limiter.add_rule(Rule::per_hour("r", 20).algorithm(algorithm)).unwrap();
    let allowed = spawn(move |n| {
        let (limiter, key) = (limiter.clone(), format!("{base}-{}", n % KEYS));
        async move { u64::from(limiter.check(&key, "r").await.unwrap().is_allowed()) }
    });
    assert_eq!(allowed.await, KEYS * 20, "{algorithm}: allowed on {KEYS} keys");
}

async fn two_rules(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("two");
    limiter.add_rule(Rule::per_hour("narrow", 100).algorithm(algorithm)).unwrap();
    limiter.add_rule(Rule::per_hour("wide", 5000)).unwrap();
    let (own, of_all) = (limiter.clone(), key.clone());
    let allowed = spawn(move |n| {
        let (limiter, key) = (own.clone(), of_all.clone());
        let rules = if n % 2 == 0 { ["narrow", "wide"] } else { ["wide", "narrow"] };
        async move { u64::from(limiter.check_all(&key, &rules).await.unwrap().is_allowed()) }
    });
    assert_eq!(allowed.await, 100, "{algorithm}: the narrow rule must allow exactly its limit");
    let wide = limiter.peek(&key, "wide").await.unwrap();
    assert_eq!(wide.remaining(), 4900, "{algorithm}: a denied request must charge nothing");
}

async fn with_refunds(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("refunds");
    limiter.add_rule(Rule::per_hour("r", 200).algorithm(algorithm)).unwrap();
    let (own, of_all) = (limiter.clone(), key.clone());
    let kept = spawn(move |n| {
        let (limiter, key) = (own.clone(), of_all.clone());
        async move {
            let decision = limiter.check(&key, "r").await.unwrap();
            if !decision.is_allowed() {
                return 0;
            }
            if n % 3 != 0 {
                return 1;
            }
            limiter.rollback(&key, &[decision]).await.unwrap();
            0
        }
    })
    .await;
    let left = limiter.peek(&key, "r").await.unwrap().remaining();
    assert_eq!(kept + left, 200, "{algorithm}: {kept} charged and {left} remaining must add up");
    assert!(
        left < TASKS,
        "{algorithm}: other tasks should have used the refunded cost, {left} left"
    );
}

async fn two_limiters(storages: [&Arc<dyn AtomicStorage>; 2], algorithm: Algorithm) {
    let key = unique("limiters");
    let limiters = storages.map(|storage| {
        let (limiter, _) = limiter_at_2026(storage);
        limiter.add_rule(Rule::per_hour("r", 300).algorithm(algorithm)).unwrap();
        limiter
    });
    let allowed = spawn(move |n| {
        let (limiter, key) = (limiters[(n % 2) as usize].clone(), key.clone());
        async move { u64::from(limiter.check(&key, "r").await.unwrap().is_allowed()) }
    });
    assert_eq!(allowed.await, 300, "{algorithm}: two limiters must share the limit");
}

/// Checks that a running clock allows as many requests as are refilled in the elapsed
/// time.
async fn while_time_passes(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("time");
    let rule = Rule::per_second("r", 100).algorithm(Algorithm::TokenBucket);
    limiter.add_rule(rule).unwrap();
    let (own, of_all) = (limiter.clone(), key.clone());
    let mut allowed = spawn(move |n| {
        let (limiter, key, clock) = (own.clone(), of_all.clone(), clock.clone());
        async move {
            if n % 10 == 0 {
                clock.advance(Duration::from_millis(10));
            }
            u64::from(limiter.check(&key, "r").await.unwrap().is_allowed())
        }
    })
    .await;
    while limiter.check(&key, "r").await.unwrap().is_allowed() {
        allowed += 1;
    }
    let refilled = TASKS * EACH.div_ceil(10);
    assert!(
        allowed <= 100 + refilled,
        "{allowed} allowed, with a burst of 100 and {refilled} refilled"
    );
    assert!(allowed + 100 >= 100 + refilled, "only {allowed} allowed, with {refilled} refilled");
}

/// Runs `TASKS` concurrent tasks of `EACH` requests, and returns the sum of their results.
fn spawn<F, Fut>(request: F) -> impl Future<Output = u64>
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = u64> + Send,
{
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let request = request.clone();
            tokio::spawn(async move {
                let mut sum = 0;
                for n in 0..EACH {
                    sum += request(task * EACH + n).await;
                    tokio::task::yield_now().await;
                }
                sum
            })
        })
        .collect();
    async {
        let mut sum = 0;
        for task in tasks {
            sum += task.await.expect("no request panics");
        }
        sum
    }
}
