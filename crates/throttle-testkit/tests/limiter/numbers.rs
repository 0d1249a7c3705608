//! Metrics and status: their values and their JSON.

use std::time::Duration;

use serde_json::json;
use throttle_core::{Algorithm, AskKind, Key, Limiter, ManualClock, Rule, Scope};
use throttle_memory::MemoryStorage;

use crate::{SECOND, limiter, six::SixOperations, start};

#[tokio::test]
async fn metrics_count_each_request_once_and_for_each_of_its_rules() {
    let (limiter, _) = limiter([Rule::per_minute("a", 2), Rule::per_minute("b", 9)]);
    for _ in 0..3 {
        limiter.check_all("k", &["a", "b"]).await.unwrap();
    }
    limiter.check("k", "b").await.unwrap();
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.allowed, metrics.denied), (4, 3, 1));
    assert_eq!((metrics.violations, metrics.errors), (1, 0));
    let of = |name| {
        let rule = metrics.rules[name];
        (rule.total, rule.allowed, rule.denied)
    };
    assert_eq!(of("a"), (3, 2, 1));
    assert_eq!(of("b"), (4, 4, 0), "b allowed the request that a denied");
}

#[tokio::test]
async fn counts_survive_replace_rule_but_not_remove_rule() {
    let (limiter, _) = limiter([Rule::per_minute("a", 2)]);
    limiter.check("k", "a").await.unwrap();
    limiter.replace_rule(Rule::per_minute("a", 3)).unwrap();
    limiter.check("k", "a").await.unwrap();
    assert_eq!(limiter.metrics().rules["a"].total, 2);
    limiter.remove_rule("a");
    assert!(limiter.metrics().rules.is_empty());
    limiter.add_rule(Rule::per_minute("a", 2)).unwrap();
    assert_eq!(limiter.metrics().rules["a"].total, 0);
    assert_eq!(limiter.metrics().total, 2);
}

#[tokio::test]
async fn a_peek_a_reset_and_a_refund_do_not_change_the_metrics() {
    let (limiter, _) = limiter([Rule::per_minute("a", 1)]);
    let decision = limiter.check("k", "a").await.unwrap();
    let before = json!(limiter.metrics());
    assert!(!limiter.peek("k", "a").await.unwrap().is_allowed());
    limiter.begin(&Key::from("k"), Some(&["a"]), Some(5), AskKind::Peek).await.unwrap();
    limiter.rollback("k", &[decision]).await.unwrap();
    limiter.refund("k", "a", 1).await.unwrap();
    limiter.reset("k", "a").await.unwrap();
    assert_eq!(json!(limiter.metrics()), before);
}

#[tokio::test]
async fn metrics_as_json_have_these_names() {
    let rule = Rule::per_second("api", 1).algorithm(Algorithm::FixedWindow);
    let clock = ManualClock::at(start());
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock).show_keys().build();
    limiter.add_rule(rule).unwrap();
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    for _ in 0..2 {
        limiter.check("user:42", "api").await.unwrap();
    }
    drop(uploads.try_acquire("k").await.unwrap());
    let expected = json!({
        "total": 3,
        "allowed": 2,
        "denied": 1,
        "violations": 1,
        "errors": 0,
        "recent_violations": [{
            "key": "user:42",
            "rule": "api",
            "limit": 1,
            "cost": 1,
            "retry_after": 1.0,
            "blocked": false,
            "at": 1_767_225_600.0,
        }],
        "shared_lists": null,
        "rules": { "api": { "total": 2, "allowed": 1, "denied": 1 } },
        "concurrency": { "uploads": { "total": 1, "allowed": 1, "denied": 0 } },
    });
    assert_eq!(json!(limiter.metrics()), expected);
}

#[tokio::test]
async fn status_as_json_has_these_names() {
    let bucket = Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20).cost(2);
    let (limiter, clock) = limiter([Rule::per_minute("api", 5).block(90 * SECOND), bucket]);
    limiter.allow_list().add("10.0.0.0/8").unwrap();
    limiter.deny_list().add("user:1").unwrap();
    limiter.deny_list().add_for("user:2", SECOND).unwrap();
    let expected = |denied: usize| {
        json!({
            "rules": [
                {
                    "name": "api",
                    "limit": 5,
                    "window": 60.0,
                    "algorithm": "sliding_window_counter",
                    "capacity": 5,
                    "block": 90.0,
                    "cost": 1,
                    "named_only": false,
                },
                {
                    "name": "burst",
                    "limit": 10,
                    "window": 1.0,
                    "algorithm": "token_bucket",
                    "capacity": 20,
                    "block": null,
                    "cost": 2,
                    "named_only": false,
                },
            ],
            "storage": "memory",
            "scope": "process",
            "allow_list": 1,
            "deny_list": denied,
            "own_clock": true,
        })
    };
    assert_eq!(json!(limiter.status()), expected(2));
    clock.advance(SECOND);
    assert_eq!(json!(limiter.status()), expected(1), "expired entries must not be counted");
}

#[tokio::test]
async fn the_status_names_a_custom_storage_by_its_type() {
    let status = Limiter::new(SixOperations::default()).status();
    assert_eq!((&*status.storage, status.scope), ("SixOperations", Scope::Process));
    assert!(!status.own_clock && status.rules.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_requests_are_all_counted() {
    let (limiter, _) = limiter([Rule::per_day("api", 100)]);
    let tasks = (0..8).map(|_| {
        let limiter = limiter.clone();
        tokio::spawn(async move {
            for _ in 0..500 {
                limiter.check("k", "api").await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.allowed, metrics.denied), (4_000, 100, 3_900));
    assert_eq!((metrics.violations, metrics.rules["api"].denied), (3_900, 3_900));
}

#[tokio::test]
async fn a_shortfall_is_charged_to_fragmented_slots_of_a_queue() {
    let queue = Rule::per_second("r", 1).algorithm(Algorithm::LeakyBucket).burst(40);
    let (limiter, _) = limiter([queue]);
    let mut all = Vec::new();
    for _ in 0..40 {
        all.push(limiter.check("k", "r").await.unwrap());
    }
    for one in all.iter().step_by(2).take(16) {
        limiter.rollback("k", std::slice::from_ref(one)).await.unwrap();
    }
    let uncharged = limiter.reconcile("k", &all[39..], 7).await.unwrap();
    assert_eq!(uncharged, 0);
    assert_eq!(
        limiter.peek("k", "r").await.unwrap().remaining(),
        1,
        "no two free slots are adjacent"
    );
    for _ in 0..10 {
        assert!(limiter.check("k", "r").await.unwrap().is_allowed());
    }
    assert!(!limiter.check("k", "r").await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_decision_that_is_rolled_back_twice_is_refunded_once() {
    for algorithm in Algorithm::ALL {
        let (limiter, _) = limiter([Rule::per_hour("a", 10).algorithm(algorithm)]);
        let left = async || limiter.peek("k", "a").await.unwrap().remaining();
        let mine = limiter.check_cost("k", "a", 2).await.unwrap();
        limiter.check_cost("k", "a", 5).await.unwrap(); // of another request
        let free = if algorithm == Algorithm::LeakyBucket { 3 } else { 5 }; // the largest contiguous part of the queue
        for _ in 0..3 {
            limiter.rollback("k", std::slice::from_ref(&mine)).await.unwrap();
            assert_eq!(left().await, free, "{algorithm}");
        }
        let clone = [mine.clone(), mine];
        limiter.rollback("k", &clone).await.unwrap();
        assert_eq!(left().await, free, "{algorithm}: a clone must not be refunded again");
    }
}

#[tokio::test]
async fn a_decision_and_its_clones_are_refunded_once() {
    let (limiter, _) = limiter([Rule::per_hour("a", 10)]);
    let left = async || limiter.peek("k", "a").await.unwrap().remaining();
    limiter.check_cost("k", "a", 5).await.unwrap(); // of another request
    for first in 0..3 {
        let mine = limiter.check_cost("k", "a", 2).await.unwrap();
        let clone = mine.clone();
        let mut all = [clone.clone(), clone, mine];
        all.rotate_left(first);
        for one in &all {
            limiter.rollback("k", std::slice::from_ref(one)).await.unwrap();
            limiter.reconcile("k", std::slice::from_ref(one), 1).await.unwrap();
            assert_eq!(left().await, 5);
        }
    }
}

#[tokio::test]
async fn a_decision_and_its_clones_are_refunded_once_by_two_threads() {
    for _ in 0..200 {
        let (limiter, _) = limiter([Rule::per_hour("a", 10)]);
        limiter.check_cost("k", "a", 5).await.unwrap(); // of another request
        let mine = limiter.check_cost("k", "a", 2).await.unwrap();
        let (runtime, all) = (tokio::runtime::Handle::current(), [mine.clone(), mine]);
        std::thread::scope(|threads| {
            for one in all.chunks(1) {
                threads.spawn(|| runtime.block_on(limiter.rollback("k", one)).unwrap());
            }
        });
        assert_eq!(limiter.peek("k", "a").await.unwrap().remaining(), 5);
    }
}

#[tokio::test]
async fn a_decision_that_is_reconciled_twice_is_changed_once() {
    for algorithm in Algorithm::ALL {
        let (limiter, _) = limiter([Rule::per_hour("a", 10).algorithm(algorithm)]);
        let left = async || limiter.peek("k", "a").await.unwrap().remaining();
        let mine = [limiter.check_cost("k", "a", 4).await.unwrap()];
        limiter.check_cost("k", "a", 3).await.unwrap(); // of another request
        let free = if algorithm == Algorithm::LeakyBucket { 3 } else { 6 }; // the largest contiguous part of the queue
        for _ in 0..3 {
            limiter.reconcile("k", &mine, 1).await.unwrap();
            limiter.reconcile("k", &mine, 5).await.unwrap();
            limiter.rollback("k", &mine).await.unwrap();
            assert_eq!(left().await, free, "{algorithm}");
        }
    }
}

/// Compares the remaining cost that a response reports after a changed charge with the storage.
#[tokio::test]
async fn the_reported_remaining_cost_after_a_changed_charge_is_allowed() {
    for algorithm in Algorithm::ALL {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let clock = ManualClock::default();
            let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
            limiter.add_rule(Rule::per_second("r", 20).algorithm(algorithm)).unwrap();
            let key = Key::from("k");
            let with_refunds = seed % 2 == 0;
            let mut others = Vec::new();
            for _ in 0..random.u8(1..12) {
                others.push(limiter.check_cost("k", "r", random.u64(1..5)).await.unwrap());
                if with_refunds && random.bool() {
                    let one = others.swap_remove(random.usize(..others.len()));
                    limiter.rollback("k", &[one]).await.unwrap();
                }
                clock.advance(Duration::from_millis(random.u64(..30)));
            }
            let max_delay = Duration::from_millis(random.u64(200..2_000));
            let cost = random.u64(1..6);
            let kind = match random.bool() {
                true => AskKind::Acquire,
                false => AskKind::Shape { max_delay },
            };
            let charged = limiter.begin(&key, Some(&["r"]), Some(cost), kind).await.unwrap();
            if !charged.is_allowed() {
                continue;
            }
            let actual = random.u64(..=cost);
            let reported = charged.reconciled(actual, |_| true).most_restrictive().remaining();
            let is_shaped = charged.most_restrictive().checked_rule().max_delay().is_some();
            limiter.reconcile("k", charged.all(), actual).await.unwrap();
            let now = limiter.peek("k", "r").await.unwrap().remaining();
            assert!(
                reported <= now,
                "{algorithm}, seed {seed}: {reported} reported, {now} allowed"
            );
            assert!(
                with_refunds || is_shaped || reported == now,
                "{algorithm}, seed {seed}: {reported} reported, {now} allowed"
            );
        }
    }
}
