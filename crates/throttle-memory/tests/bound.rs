//! The bound on memory, and eviction when it is reached.

use std::time::Duration;

use throttle_core::{Algorithm, Limiter, ManualClock, Rule, Storage};
use throttle_memory::MemoryStorage;

const BOUND: usize = 20_000;

fn limiter(bound: usize) -> (Limiter, MemoryStorage) {
    let storage = MemoryStorage::builder().max_entries(bound).build();
    let limiter = Limiter::new(storage.clone());
    limiter.add_rule(Rule::per_day("api", 3)).expect("in range");
    limiter.add_rule(Rule::per_day("other", 5)).expect("in range");
    (limiter, storage)
}

#[tokio::test]
async fn a_limited_key_stays_limited_during_a_flood_of_new_keys() {
    let (limiter, storage) = limiter(BOUND);
    let limited: Vec<_> = (0..100).map(|i| format!("limited-{i}")).collect();
    for key in &limited {
        for n in 0..4 {
            assert_eq!(limiter.check(key, "api").await.unwrap().is_allowed(), n < 3);
        }
    }
    for fresh in 0..10 * BOUND {
        let fresh = format!("fresh-{fresh}");
        assert!(limiter.check(&fresh, "api").await.unwrap().is_allowed(), "a new key is allowed");
    }
    for key in &limited {
        assert!(!limiter.check(key, "api").await.unwrap().is_allowed(), "{key} was evicted");
    }
    assert!(storage.len() <= BOUND, "{} entries", storage.len());
}

/// Makes requests of each of `keys` until it is denied.
async fn exhaust(limiter: &Limiter, keys: impl Iterator<Item = String>, rule: &str) {
    for key in keys {
        while limiter.check(&key, rule).await.expect("memory answers").is_allowed() {}
    }
}

#[tokio::test]
async fn blocked_keys_stay_during_a_flood_of_keys_that_become_blocked() {
    let bound = 1_000;
    for (blocks, flood) in [("login", "login"), ("login", "api"), ("api", "api")] {
        let storage = MemoryStorage::builder().max_entries(bound).build();
        let clock = ManualClock::default();
        let limiter = Limiter::builder(storage.clone()).clock(clock.clone()).build();
        limiter.add_rule(Rule::per_day("api", 3)).unwrap();
        limiter.add_rule(Rule::per_minute("login", 1).block(Duration::from_secs(3_600))).unwrap();
        let blocked = || (0..100).map(|i| format!("blocked-{i}"));
        exhaust(&limiter, blocked(), blocks).await;

        exhaust(&limiter, (0..10 * bound).map(|i| format!("fresh-{i}")), flood).await;

        clock.advance(Duration::from_secs(3_599)); // the last second of the block, or of a day
        for key in blocked() {
            let decision = limiter.check(&key, blocks).await.unwrap();
            assert!(!decision.is_allowed(), "{key} was evicted, {blocks} by {flood}");
            assert_eq!(decision.is_blocked(), blocks == "login");
        }
        assert!(storage.len() <= bound, "{} entries", storage.len());
    }
}

#[tokio::test]
async fn a_storage_full_of_blocked_keys_still_counts_new_keys() {
    let bound = 2_000;
    let storage = MemoryStorage::builder().max_entries(bound).build();
    let limiter = Limiter::new(storage.clone());
    limiter.add_rule(Rule::per_day("login", 1).block(Duration::from_secs(86_400))).unwrap();
    exhaust(&limiter, (0..2 * bound).map(|i| format!("blocked-{i}")), "login").await;
    let mut kept = 0;
    for client in 0..1_000 {
        let key = format!("new-{client}");
        assert!(limiter.check(&key, "login").await.unwrap().is_allowed());
        kept += u64::from(!limiter.check(&key, "login").await.unwrap().is_allowed());
    }
    assert_eq!(kept, 1_000, "the count of a new client is kept until its next request");
    assert!(storage.len() <= bound, "{} entries", storage.len());
}

#[tokio::test]
async fn a_key_in_use_stays_during_a_flood_of_keys_with_two_requests_each() {
    let (limiter, storage) = limiter(BOUND);
    let mut allowed = 0;
    for fresh in 0..10 * BOUND {
        let key = format!("fresh-{fresh}");
        for _ in 0..2 {
            limiter.check(&key, "api").await.unwrap();
        }
        if fresh % 1_000 == 0 {
            allowed += u64::from(limiter.check("busy", "api").await.unwrap().is_allowed());
        }
    }
    assert_eq!(allowed, 3, "a key with occasional requests stays limited");
    assert!(storage.len() <= BOUND);
}

#[tokio::test]
async fn a_storage_for_a_single_entry_works() {
    let (limiter, storage) = limiter(0);
    for n in 0..5 {
        assert_eq!(limiter.check("a", "api").await.unwrap().is_allowed(), n < 3);
    }
    assert!(limiter.check("b", "api").await.unwrap().is_allowed());
    assert!(limiter.check_all("c", &["api", "other"]).await.unwrap().is_allowed());
    assert!(storage.len() <= 2, "the slots of one request do not evict each other");
}

#[tokio::test]
async fn every_rule_of_a_request_is_charged_in_a_full_storage() {
    let (limiter, _) = limiter(300);
    for fresh in 0..3_000 {
        let fresh = format!("fresh-{fresh}");
        let decisions = limiter.check_all(&fresh, &["api", "other"]).await.unwrap();
        let left: Vec<_> = decisions.all().iter().map(|one| one.remaining()).collect();
        assert_eq!(left, [2, 4], "{fresh}");
    }
}

#[tokio::test]
async fn a_peek_creates_no_entry() {
    let (limiter, storage) = limiter(BOUND);
    for key in 0..100 {
        assert_eq!(limiter.peek(&key.to_string(), "api").await.unwrap().remaining(), 3);
    }
    assert!(storage.is_empty());
}

#[tokio::test]
async fn the_number_of_values_is_bounded() {
    let storage = MemoryStorage::builder().max_entries(100).build();
    for key in 0..5_000 {
        storage.set(&key.to_string(), "x".into(), None).await.unwrap();
    }
    assert!(storage.len() <= 100, "{} values", storage.len());
}

#[tokio::test]
async fn clear_removes_values_and_counts() {
    let (limiter, storage) = limiter(BOUND);
    storage.set("value", "x".into(), None).await.unwrap();
    for _ in 0..4 {
        limiter.check("a", "api").await.unwrap();
    }
    assert_eq!(storage.clear().await.unwrap(), 2);
    assert!(limiter.check("a", "api").await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_log_that_was_reset_counts_from_zero() {
    let (limiter, _) = limiter(BOUND);
    let rule = Rule::per_second("log", 1_000).algorithm(Algorithm::SlidingWindowLog);
    limiter.add_rule(rule).unwrap();
    limiter.check_cost("a", "log", 1_000).await.unwrap();
    assert!(!limiter.check("a", "log").await.unwrap().is_allowed());
    limiter.reset("a", "log").await.unwrap();
    assert!(limiter.check_cost("a", "log", 1_000).await.unwrap().is_allowed());
}

// Keys may be secrets.
#[tokio::test]
async fn debug_output_shows_no_key() {
    let (limiter, storage) = limiter(BOUND);
    limiter.check("secret-api-key", "api").await.unwrap();
    assert!(!format!("{storage:?} {limiter:?}").contains("secret"));
}
