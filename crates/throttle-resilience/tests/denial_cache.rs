//! Requests that the denial cache answers, and those that it does not.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Behaviour, FaultyStorage, count_allowed, fixed, limiter};
use throttle_core::{
    Algorithm, AskKind, ChargeRequest, Decision, Key, Limiter, ManualClock, Micros, Rule, Storage,
};
use throttle_memory::MemoryStorage;
use throttle_resilience::{DenialCache, FailureModes, Fallback};

const SECOND: Duration = Duration::from_secs(1);

fn wrapped(storage: &FaultyStorage) -> DenialCache {
    DenialCache::new(storage.clone(), 1_000)
}

/// Creates a limiter with one rule on a wrapped storage, with the system clock.
fn of_rule(rule: Rule) -> (Limiter, FaultyStorage, DenialCache) {
    let storage = FaultyStorage::default();
    let denials = wrapped(&storage);
    (limiter(denials.clone(), [rule]), storage, denials)
}

#[tokio::test]
async fn a_flood_of_one_key_is_rejected_from_the_cache() {
    let (limiter, storage, denials) = of_rule(fixed("r", 10));
    assert_eq!(count_allowed(&limiter, "k", "r", 10_000).await, 10);
    assert!(storage.calls() < 25, "{} calls for 10,000 requests", storage.calls());
    let stats = denials.stats();
    assert_eq!((stats.hits, stats.keys), (10_000 - storage.calls(), 1));
    assert_eq!(count_allowed(&limiter, "other", "r", 10).await, 10, "other keys are not affected");
    let metrics = limiter.metrics();
    assert_eq!((metrics.denied, metrics.violations), (9_990, 9_990));
}

#[tokio::test]
async fn a_cached_denial_sends_two_requests_a_second_to_the_storage() {
    let (limiter, storage, _) = of_rule(fixed("r", 1));
    assert_eq!(count_allowed(&limiter, "k", "r", 2).await, 1);
    let (calls, began) = (storage.calls(), std::time::Instant::now());
    while began.elapsed() < 2 * SECOND {
        assert!(!limiter.check("k", "r").await.unwrap().is_allowed());
        tokio::task::yield_now().await;
    }
    let asked = storage.calls() - calls;
    assert!((2..=6).contains(&asked), "{asked} calls in two seconds");
}

#[tokio::test]
async fn only_one_request_asks_again_while_its_call_is_in_flight() {
    let (limiter, storage, _) = of_rule(fixed("r", 1));
    assert_eq!(count_allowed(&limiter, "k", "r", 2).await, 1);
    tokio::time::sleep(Duration::from_millis(510)).await;
    storage.be(Behaviour::Later(Duration::from_millis(100)));
    let calls = storage.calls();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.check("k", "r").await.unwrap().is_allowed() })
        })
        .collect();
    for task in tasks {
        assert!(!task.await.unwrap());
    }
    assert_eq!(storage.calls() - calls, 1);
}

#[tokio::test]
async fn resets_refunds_and_clears_by_this_handle_apply_at_once() {
    let (limiter, _, denials) = of_rule(fixed("r", 2).block(Duration::from_secs(60)));
    for behaviour in [Behaviour::AtOnce, Behaviour::Later(Duration::from_millis(1))] {
        let (plain, storage, other) = of_rule(fixed("r", 2));
        storage.be(behaviour);
        assert_eq!(count_allowed(&plain, "k", "r", 5).await, 2);
        plain.refund("k", "r", 1).await.unwrap();
        assert_eq!(count_allowed(&plain, "k", "r", 5).await, 1, "{behaviour:?}");
        plain.reset("k", "r").await.unwrap();
        let charged = plain.check("k", "r").await.unwrap();
        assert_eq!(count_allowed(&plain, "k", "r", 5).await, 1, "{behaviour:?}");
        plain.rollback("k", &[charged]).await.unwrap();
        assert_eq!(count_allowed(&plain, "k", "r", 5).await, 1, "{behaviour:?}");
        other.clear().await.unwrap();
        assert_eq!(count_allowed(&plain, "k", "r", 5).await, 2, "{behaviour:?}");
    }
    assert_eq!(count_allowed(&limiter, "k", "r", 5).await, 2);
    limiter.reset("k", "r").await.unwrap();
    assert_eq!(count_allowed(&limiter, "k", "r", 5).await, 2, "it is no longer blocked");
    assert!(denials.stats().hits > 0);
}

#[tokio::test]
async fn an_answer_in_flight_during_a_reset_is_not_cached() {
    let (limiter, storage, _) = of_rule(fixed("r", 1));
    assert_eq!(count_allowed(&limiter, "k", "r", 1).await, 1);
    storage.be(Behaviour::Later(Duration::from_millis(50)));
    let key = Key::from("k");
    let slow = limiter.begin(&key, Some(&["r"]), None, AskKind::Acquire); // denied now, answered later
    storage.be(Behaviour::AtOnce);
    limiter.reset("k", "r").await.unwrap();
    assert!(!slow.await.unwrap().is_allowed());
    assert!(limiter.check("k", "r").await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_reset_by_another_instance_is_noticed_within_a_second() {
    let (limiter, storage, _) = of_rule(fixed("r", 1));
    let other = common::limiter(wrapped(&storage), [fixed("r", 1)]);
    assert_eq!(count_allowed(&limiter, "k", "r", 100).await, 1);
    other.reset("k", "r").await.unwrap();
    assert!(!limiter.check("k", "r").await.unwrap().is_allowed(), "not yet");
    let seen = common::until("the reset to be noticed", SECOND, || async {
        limiter.check("k", "r").await.unwrap().is_allowed()
    });
    assert!(seen.await <= SECOND);
}

#[tokio::test]
async fn a_replaced_rule_applies_at_once() {
    let (limiter, _, _) = of_rule(fixed("r", 1));
    assert_eq!(count_allowed(&limiter, "k", "r", 10).await, 1);
    limiter.replace_rule(fixed("r", 3)).unwrap();
    assert_eq!(count_allowed(&limiter, "k", "r", 10).await, 2);
}

#[tokio::test]
async fn a_smaller_cost_is_sent_to_the_storage_and_a_larger_one_is_not() {
    let (limiter, storage, _) = of_rule(fixed("r", 10));
    limiter.check_cost("k", "r", 6).await.unwrap();
    assert!(!limiter.check_cost("k", "r", 6).await.unwrap().is_allowed());
    let calls = storage.calls();
    for cost in [6, 7, 10, 11, 1_000] {
        let denial = limiter.check_cost("k", "r", cost).await.unwrap();
        assert!(!denial.is_allowed() && denial.remaining() == 4);
        assert_eq!(denial.retry_after().is_some(), cost <= 10, "{cost} is never allowed");
    }
    assert_eq!(storage.calls(), calls);
    let decision = limiter.check_cost("k", "r", 4).await.unwrap();
    assert_eq!((decision.is_allowed(), decision.remaining()), (true, 0));
    assert_eq!(
        limiter.check_cost("k", "r", 6).await.unwrap().remaining(),
        0,
        "not the cached value"
    );
}

#[tokio::test]
async fn a_blocked_key_denies_every_cost_from_the_cache() {
    let (limiter, storage, _) = of_rule(fixed("r", 10).block(Duration::from_secs(60)));
    assert!(!limiter.check_cost("k", "r", 10).await.unwrap().is_blocked());
    assert!(limiter.check_cost("k", "r", 5).await.unwrap().is_blocked());
    let calls = storage.calls();
    for cost in [1, 5, 10, 11] {
        let denial = limiter.check_cost("k", "r", cost).await.unwrap();
        assert!(denial.is_blocked() && denial.remaining() == 0);
    }
    assert_eq!(storage.calls(), calls);
}

#[tokio::test]
async fn a_waiting_request_does_not_prevent_a_block() {
    let (limiter, _, _) = of_rule(Rule::per_hour("r", 1).block(Duration::from_secs(7_200)));
    limiter.check("k", "r").await.unwrap();
    let waiter = tokio::time::timeout(Duration::from_millis(50), limiter.until_ready("k", "r"));
    assert!(waiter.await.is_err());
    assert!(limiter.check("k", "r").await.unwrap().is_blocked());
}

#[tokio::test]
async fn several_rules_are_denied_together_with_the_cached_verdicts() {
    let storage = FaultyStorage::default();
    let limiter = limiter(wrapped(&storage), [fixed("wide", 100), fixed("narrow", 2)]);
    let all = ["wide", "narrow"];
    for _ in 0..3 {
        limiter.check_all("k", &all).await.unwrap();
    }
    let calls = storage.calls();
    for _ in 0..100 {
        let denial = limiter.check_all("k", &all).await.unwrap();
        assert_eq!((denial.is_allowed(), denial.most_restrictive().rule()), (false, "narrow"));
        assert_eq!(denial.all()[0].remaining(), 98);
    }
    assert_eq!(storage.calls(), calls);
    assert!(limiter.check("k", "wide").await.unwrap().is_allowed(), "alone it allows");
    assert!(!limiter.check_all("k", &["narrow", "wide"]).await.unwrap().is_allowed());
}

#[tokio::test]
async fn waits_are_shortened_by_the_elapsed_time() {
    for algorithm in Algorithm::ALL {
        let (limiter, storage, _) = of_rule(Rule::per_minute("r", 5).algorithm(algorithm));
        limiter.check_cost("k", "r", 5).await.unwrap();
        let first = limiter.check("k", "r").await.unwrap();
        let (calls, began) = (storage.calls(), std::time::Instant::now());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let aged = limiter.check("k", "r").await.unwrap();
        let (least, most) = (Duration::from_millis(50), began.elapsed() + 2 * SECOND / 1_000);
        assert_eq!(storage.calls(), calls, "it is answered from the cache");
        let gone = |wait: fn(&Decision) -> Duration| wait(&first) - wait(&aged);
        let waits: [fn(&Decision) -> Duration; 2] =
            [|one| one.retry_after().unwrap(), |one| one.reset_after()];
        for wait in waits {
            let gone = gone(wait);
            assert!(
                gone >= least && gone <= most,
                "{algorithm}: {gone:?} of {least:?} to {most:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_as_long_as_reported_is_allowed() {
    for algorithm in Algorithm::ALL {
        let rule = Rule::new("r", 5, Duration::from_millis(300)).algorithm(algorithm);
        let (limiter, _, _) = of_rule(rule);
        let mut denied = 0;
        for _ in 0..20 {
            let decision = limiter.check("k", "r").await.unwrap();
            if let Some(wait) = decision.retry_after() {
                denied += 1;
                // A denial from the cache, also for a request that others made in between.
                let wait = limiter.check("k", "r").await.unwrap().retry_after().unwrap_or(wait);
                tokio::time::sleep(wait).await;
                assert!(limiter.check("k", "r").await.unwrap().is_allowed(), "{algorithm}");
            }
        }
        assert!(denied > 0, "{algorithm}");
    }
}

#[tokio::test]
async fn degraded_answers_are_not_cached() {
    let storage = FaultyStorage::new(Behaviour::Fails);
    let local = MemoryStorage::new();
    let fallback = Fallback::new(storage.clone(), FailureModes::local(local, 2));
    let limiter = limiter(DenialCache::new(fallback, 100), [fixed("r", 4)]);
    assert_eq!(count_allowed(&limiter, "k", "r", 10).await, 2);
    storage.be(Behaviour::AtOnce);
    let decision = limiter.check("k", "r").await.unwrap();
    assert!(decision.is_allowed() && !decision.is_degraded(), "the storage allows it at once");
}

/// Checks that every answer equals that of the storage itself, for any sequence of checks, refunds,
/// resets and replaced rules. (With another window, another rate of a bucket, or a clock that steps
/// back, the stored state depends on when it was last touched, and a cached denial touches
/// nothing.)
#[tokio::test]
async fn random_histories_get_the_same_answers_as_from_the_storage() {
    let mut cached = 0;
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let algorithm = Algorithm::ALL[seed as usize % Algorithm::ALL.len()];
        let clock = ManualClock::at(Micros::new(1_767_225_600_000_000).to_system_time());
        let denials = DenialCache::new(MemoryStorage::new(), 4);
        let limiters: [Limiter; 2] =
            [Arc::new(denials.clone()).atomic(), Arc::new(MemoryStorage::new()).atomic()]
                .map(|storage| Limiter::builder(storage).clock(clock.clone()).build());
        let windows = [0; 2].map(|_| Duration::from_millis(random.u64(1..40)));
        let buckets = matches!(algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket);
        let rule = |random: &mut fastrand::Rng, name: &str| {
            let window = windows[usize::from(name == "b")];
            let limit = if buckets { 4 } else { random.u64(1..6) };
            let rule = Rule::new(name, limit, window);
            let rule = rule.algorithm(algorithm);
            if random.u8(..4) == 0 { rule.block(Duration::from_millis(30)) } else { rule }
        };
        for name in ["a", "b"] {
            let rule = rule(&mut random, name);
            limiters.iter().for_each(|limiter| limiter.add_rule(rule.clone()).unwrap());
        }
        let mut last: Vec<Decision> = Vec::new();
        for step in 0..300 {
            let key = ["k", "l"][random.usize(..2)];
            let name = ["a", "b"][random.usize(..2)];
            let (what, cost) = (random.u8(..40), random.u64(1..4));
            let both = random.u8(..3) == 0;
            let new_rule = rule(&mut random, name);
            let mut answers = Vec::new();
            for (i, limiter) in limiters.iter().enumerate() {
                match what {
                    0 => _ = limiter.reset(key, name).await.unwrap(),
                    1 => limiter.refund(key, name, cost).await.unwrap(),
                    2 => drop(limiter.replace_rule(new_rule.clone()).unwrap()),
                    3 if last.len() == 2 => {
                        limiter.rollback(key, &last[i..=i]).await.unwrap();
                    }
                    _ => {
                        let rules: &[&str] = if both { &["a", "b"] } else { &[name] };
                        let key = Key::from(key);
                        let decisions = limiter
                            .begin(&key, Some(rules), Some(cost), AskKind::Acquire)
                            .await
                            .unwrap();
                        answers.push(decisions);
                    }
                }
            }
            let reported = |i: usize| {
                let all = answers.get(i).into_iter().flat_map(|decisions| decisions.all());
                let of = |one: &Decision| {
                    let waits = (one.reset_after(), one.retry_after(), one.delay());
                    (one.is_allowed(), one.remaining(), waits, one.is_blocked())
                };
                all.map(of).collect::<Vec<_>>()
            };
            assert_eq!(reported(0), reported(1), "seed {seed}, {algorithm}, step {step}");
            if answers.len() == 2 {
                last =
                    answers.iter().map(|decisions| decisions.most_restrictive().clone()).collect();
            }
            if random.bool() {
                clock.advance(Duration::from_micros(random.u64(..8_000)));
            }
        }
        cached += denials.stats().hits;
    }
    println!("{cached} of 90,000 were answered from the cache");
    assert!(cached > 2_000, "{cached}");
}

/// A freed slot shrinks as its scheduled time passes, while a denial is cached.
#[tokio::test]
async fn remaining_of_a_queue_with_freed_slots_is_allowed() {
    let clock = ManualClock::at(Micros::new(1_767_225_600_000_000).to_system_time());
    let denials = DenialCache::new(MemoryStorage::new(), 10);
    let limiter = Limiter::builder(denials).clock(clock.clone()).build();
    let rule = Rule::new("r", 10, 10 * SECOND).algorithm(Algorithm::LeakyBucket);
    limiter.add_rule(rule).unwrap();
    let mut queue = Vec::new();
    for _ in 0..10 {
        queue.push(limiter.check("k", "r").await.unwrap());
    }
    limiter.rollback("k", &queue[1..4]).await.unwrap();
    assert_eq!(limiter.check_cost("k", "r", 4).await.unwrap().remaining(), 3);
    clock.advance(SECOND * 5 / 2);
    let denied = limiter.check_cost("k", "r", 4).await.unwrap();
    assert_eq!((denied.is_allowed(), denied.remaining()), (false, 2));
    assert!(limiter.check_cost("k", "r", 2).await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_full_cache_evicts_and_never_allows_too_many() {
    let storage = FaultyStorage::default();
    let denials = DenialCache::new(storage.clone(), 8);
    let limiter = limiter(denials.clone(), [fixed("r", 1)]);
    for _ in 0..3 {
        for key in 0..500 {
            limiter.check(&format!("{key}"), "r").await.unwrap();
        }
    }
    assert_eq!(limiter.metrics().allowed, 500);
    assert!(denials.stats().keys <= 8, "{:?}", denials.stats());
}

#[tokio::test]
async fn a_request_with_several_keys_is_sent_to_the_storage() {
    let (limiter, storage, denials) = of_rule(fixed("r", 1));
    let rule = limiter.rule("r").unwrap();
    let keys = [Key::from("k"), Key::from("l")];
    let charges = keys.each_ref().map(|key| throttle_core::Charge::new(key, &rule, 1));
    for _ in 0..5 {
        let _ = limiter.storage().acquire(&ChargeRequest::new(&charges, None)).await.unwrap();
    }
    assert_eq!((storage.calls(), denials.stats().hits), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_on_one_key_never_get_one_too_many_nor_one_too_few() {
    let (limiter, _, _) = of_rule(fixed("r", 500));
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let mut kept = 0_u64;
                for n in 0..200 {
                    let decision = limiter.check("k", "r").await.unwrap();
                    let allowed = decision.is_allowed();
                    if allowed && (task + n) % 3 == 0 {
                        limiter.rollback("k", &[decision]).await.unwrap();
                    } else {
                        kept += u64::from(allowed);
                    }
                    tokio::task::yield_now().await;
                }
                kept
            })
        })
        .collect();
    let mut kept = 0;
    for task in tasks {
        kept += task.await.unwrap();
    }
    // The last refunds may have come after the last request.
    let left = limiter.peek("k", "r").await.unwrap().remaining();
    assert_eq!(kept + left, 500);
    assert_eq!(count_allowed(&limiter, "k", "r", 500).await, left);
}
