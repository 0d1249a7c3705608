//! Many tasks on few keys: never one request too many, never one too few.

use std::{future::Future, sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Rule};

use crate::fixtures::{limiter_at_2026, unique};

const TASKS: u64 = 32;
const EACH: u64 = 40;

/// `other` shares the limits of `storage`.
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
    while_time_goes_on(storage).await;
    6 * Algorithm::ALL.len() + 1
}

async fn one_key(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("one");
    limiter.add_rule(Rule::per_hour("r", 500).algorithm(algorithm)).unwrap();
    let passed = spawn(move |_| {
        let (limiter, key) = (limiter.clone(), key.clone());
        async move { u64::from(limiter.check(&key, "r").await.unwrap().is_allowed()) }
    });
    assert_eq!(passed.await, 500, "{algorithm}: {} requests on one key", TASKS * EACH);
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
    assert_eq!(charged.await, 1000, "{algorithm}: costs of 1 are asked too, so nothing is left");
    let after = limiter.peek(&key, "r").await.unwrap().remaining();
    assert!(left <= 1000 && after == 0, "{algorithm}: {after} left");
}

async fn many_keys(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    const KEYS: u64 = 16;
    let (limiter, _) = limiter_at_2026(storage);
    let base = unique("keys");
    limiter.add_rule(Rule::per_hour("r", 20).algorithm(algorithm)).unwrap();
    let passed = spawn(move |n| {
        let (limiter, key) = (limiter.clone(), format!("{base}-{}", n % KEYS));
        async move { u64::from(limiter.check(&key, "r").await.unwrap().is_allowed()) }
    });
    assert_eq!(passed.await, KEYS * 20, "{algorithm}: {KEYS} keys at once");
}

async fn two_rules(storage: &Arc<dyn AtomicStorage>, algorithm: Algorithm) {
    let (limiter, _) = limiter_at_2026(storage);
    let key = unique("two");
    limiter.add_rule(Rule::per_hour("narrow", 100).algorithm(algorithm)).unwrap();
    limiter.add_rule(Rule::per_hour("wide", 5000)).unwrap();
    let (own, of_all) = (limiter.clone(), key.clone());
    let passed = spawn(move |n| {
        let (limiter, key) = (own.clone(), of_all.clone());
        let rules = if n % 2 == 0 { ["narrow", "wide"] } else { ["wide", "narrow"] };
        async move { u64::from(limiter.check_all(&key, &rules).await.unwrap().is_allowed()) }
    });
    assert_eq!(passed.await, 100, "{algorithm}");
    let wide = limiter.peek(&key, "wide").await.unwrap();
    assert_eq!(wide.remaining(), 4900, "{algorithm}: a denied request charges nothing");
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
    assert_eq!(kept + left, 200, "{algorithm}: {kept} kept, {left} left");
    assert!(left < TASKS, "{algorithm}: what was given back was taken by others");
}

async fn two_limiters(storages: [&Arc<dyn AtomicStorage>; 2], algorithm: Algorithm) {
    let key = unique("limiters");
    let limiters = storages.map(|storage| {
        let (limiter, _) = limiter_at_2026(storage);
        limiter.add_rule(Rule::per_hour("r", 300).algorithm(algorithm)).unwrap();
        limiter
    });
    let passed = spawn(move |n| {
        let (limiter, key) = (limiters[(n % 2) as usize].clone(), key.clone());
        async move { u64::from(limiter.check(&key, "r").await.unwrap().is_allowed()) }
    });
    assert_eq!(passed.await, 300, "{algorithm}: two limiters share what the suite's storages keep");
}

/// What passes while the clock runs is what the arithmetic gives for the time that went by.
async fn while_time_goes_on(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, clock) = limiter_at_2026(storage);
    let key = unique("time");
    let rule = Rule::per_second("r", 100).algorithm(Algorithm::TokenBucket);
    limiter.add_rule(rule).unwrap();
    let (own, of_all) = (limiter.clone(), key.clone());
    let mut passed = spawn(move |n| {
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
        passed += 1;
    }
    let refilled = TASKS * EACH.div_ceil(10);
    assert!(passed <= 100 + refilled, "{passed} passed of a burst of 100 and {refilled} refilled");
    assert!(passed + 100 >= 100 + refilled, "{passed} passed, {refilled} were refilled");
}

/// Runs `EACH` requests in each of `TASKS` tasks at once, and adds up what they return.
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
