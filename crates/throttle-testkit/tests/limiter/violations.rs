//! Violations: their callbacks, and the list of recent ones.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use throttle_core::{Algorithm, AskKind, Key, Limiter, ListMatch, ManualClock, Rule, Violation};
use throttle_memory::MemoryStorage;

use crate::{SECOND, limiter, start};

/// Records the violations that a callback receives.
fn record(limiter: &Limiter) -> Arc<Mutex<Vec<Violation>>> {
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let reported_to = Arc::clone(&recorded);
    limiter.on_violation(move |violation| reported_to.lock().unwrap().push(violation.clone()));
    recorded
}

#[tokio::test]
async fn every_callback_is_called_for_every_denial_and_nothing_else() {
    let rule = Rule::per_second("api", 1).block(9 * SECOND).algorithm(Algorithm::FixedWindow);
    let clock = ManualClock::at(start());
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).show_keys().build();
    limiter.add_rule(rule).unwrap();
    let (one, two) = (record(&limiter), record(&limiter));
    clock.advance(SECOND / 4);
    limiter.check("a key", "api").await.unwrap();
    limiter.peek("a key", "api").await.unwrap();
    assert!(one.lock().unwrap().is_empty());

    limiter.check("a key", "api").await.unwrap();
    clock.advance(SECOND);
    limiter.check_cost("a key", "api", 7).await.unwrap();
    let recorded = one.lock().unwrap().clone();
    assert_eq!(*two.lock().unwrap(), recorded);
    assert_eq!(recorded, limiter.metrics().recent_violations);
    let [first, second] = &recorded[..] else { panic!("{recorded:?}") };
    assert_eq!((&first.key, &*first.rule), (&Key::from("a key"), "api"));
    assert_eq!((first.limit, first.cost, first.blocked), (1, 1, true));
    assert_eq!(first.retry_after, Some(9 * SECOND));
    assert_eq!(first.at, start() + SECOND / 4);
    assert_eq!((second.cost, second.retry_after, second.at), (7, None, start() + 5 * SECOND / 4));
}

#[tokio::test]
async fn a_request_that_two_rules_deny_is_two_violations() {
    let rules = ["a", "b", "c"].map(|name| Rule::per_second(name, if name == "c" { 9 } else { 1 }));
    let (limiter, _) = limiter(rules);
    let recorded = record(&limiter);
    for _ in 0..2 {
        limiter.check_all("k", &["a", "b", "c"]).await.unwrap();
    }
    assert_eq!(
        recorded.lock().unwrap().iter().map(|one| &*one.rule).collect::<Vec<_>>(),
        ["a", "b"]
    );
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.denied, metrics.violations), (2, 1, 2));
}

#[tokio::test]
async fn a_callback_that_panics_affects_no_request() {
    let (limiter, clock) = limiter([Rule::per_second("api", 1)]);
    let before = record(&limiter);
    limiter.on_violation(|violation| panic!("a callback that panics about {}", violation.key));
    let after = record(&limiter);
    for _ in 0..2 {
        limiter.check("k", "api").await.unwrap();
    }
    for n in 2..5 {
        let denial = limiter.check("k", "api").await.unwrap();
        assert!(!denial.is_allowed() && denial.retry_after().is_some());
        assert_eq!(before.lock().unwrap().len(), n);
        assert_eq!(after.lock().unwrap().len(), n, "later callbacks must be called");
    }
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.denied, metrics.recent_violations.len()), (5, 4, 4));
    limiter.add_rule(Rule::per_second("other", 1)).unwrap();
    limiter.deny_list().add("l").unwrap();
    assert!(!limiter.check("l", "other").await.unwrap().is_allowed());
    clock.advance(2 * SECOND);
    assert!(limiter.check("k", "api").await.unwrap().is_allowed());
}

#[tokio::test]
async fn an_entry_that_a_callback_adds_expires_while_the_client_continues() {
    // The last key looks like an address, but must not deny that address.
    for key in ["user:42", "a key, {with}: signs", "", "203.0.113.7"] {
        let key = Key::from(key).opaque();
        let (limiter, clock) = limiter([Rule::per_second("api", 1)]);
        let own = limiter.clone();
        limiter.on_violation(move |violation| {
            own.deny_list().add_key_for(&violation.key, 10 * SECOND);
        });
        for _ in 0..2 {
            limiter.check(&key, "api").await.unwrap();
        }
        for left in (1..=10).rev() {
            let denied = limiter.check(&key, "api").await.unwrap();
            assert_eq!(
                (denied.listed(), denied.retry_after()),
                (Some(ListMatch::Denied), Some(left * SECOND))
            );
            let route = Key::join([&key, &Key::from(IpAddr::from([203, 0, 113, 7]))]);
            assert!(limiter.peek(&route, "api").await.unwrap().is_allowed());
            clock.advance(SECOND);
        }
        assert!(limiter.check(&key, "api").await.unwrap().is_allowed(), "{key:?}");
        assert_eq!(limiter.metrics().violations, 1);

        limiter.deny_list().add_key(&key);
        assert!(!limiter.check(&key, "api").await.unwrap().is_allowed());
        let address = IpAddr::from([203, 0, 113, 7]);
        assert!(!limiter.deny_list().contains(Key::from(address)));
        limiter.deny_list().add_key(Key::from(address));
        assert!(limiter.deny_list().remove_key(Key::from(address)));
        assert!(
            limiter.deny_list().contains(&key),
            "the key and the address must be separate entries"
        );
        assert!(limiter.deny_list().remove_key(&key) && !limiter.deny_list().remove_key(&key));
        limiter.allow_list().add_key(&key);
        assert!(limiter.check(&key, "api").await.unwrap().listed() == Some(ListMatch::Allowed));
    }
}

#[tokio::test]
async fn a_callback_may_use_the_limiter() {
    let (limiter, _) = limiter([Rule::per_second("api", 1)]);
    let (own, seen) = (limiter.clone(), Arc::new(AtomicU64::new(0)));
    let seen_by = Arc::clone(&seen);
    limiter.on_violation(move |violation| {
        own.deny_list().add_key_for(&violation.key, Duration::from_secs(60));
        seen_by.store(own.metrics().recent_violations.len() as u64, Relaxed);
        if own.rule("seen").is_none() {
            own.add_rule(Rule::per_second("seen", 1)).unwrap();
            own.on_violation(|_| ());
        }
    });
    for _ in 0..2 {
        limiter.check("k", "api").await.unwrap();
    }
    assert!(limiter.deny_list().contains("k"));
    assert_eq!(seen.load(Relaxed), 1, "the reported violation must be in the recent ones");
}

#[tokio::test]
async fn the_list_of_recent_violations_is_bounded_and_keeps_the_newest() {
    for kept in [0, 1, 3, 100] {
        let limiter =
            Limiter::builder(MemoryStorage::new()).recent_violations(kept).show_keys().build();
        limiter.add_rule(Rule::per_day("api", 1)).unwrap();
        for n in 0..250 {
            limiter.check_cost(&format!("key-{n}"), "api", 2).await.unwrap();
        }
        let metrics = limiter.metrics();
        let keys: Vec<_> = metrics.recent_violations.into_iter().map(|one| one.key).collect();
        let newest: Vec<_> = (250 - kept..250).map(|n| Key::from(format!("key-{n}"))).collect();
        assert_eq!(keys, newest, "oldest first");
        assert_eq!(metrics.violations, 250, "all violations must be counted");
    }
}

#[tokio::test]
async fn a_hundred_recent_violations_are_kept_by_default() {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("api", 1)).unwrap();
    for _ in 0..150 {
        limiter.check_cost("k", "api", 2).await.unwrap();
    }
    assert_eq!(limiter.metrics().recent_violations.len(), 100);
}

#[tokio::test]
async fn a_callback_can_check_the_limiter_without_recursion() {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("api", 1)).unwrap();
    limiter.add_rule(Rule::per_day("strikes", 2)).unwrap();
    let (strikes, recorded) = (limiter.clone(), Arc::new(Mutex::new(Vec::new())));
    let reported_to = Arc::clone(&recorded);
    limiter.on_violation(move |violation| {
        reported_to.lock().unwrap().push(violation.rule.clone());
        let reply = strikes.begin(&violation.key, Some(&["strikes"]), None, AskKind::Acquire);
        assert!(reply.into_ready().is_ok());
    });
    for _ in 0..6 {
        let _ = limiter.check("k", "api").await.unwrap();
    }
    assert_eq!(*recorded.lock().unwrap(), ["api"; 5]);
    assert_eq!(
        limiter.metrics().violations,
        5 + 3,
        "the three violations in the callback must be counted"
    );
}

#[tokio::test]
async fn keys_are_shown_as_digests_unless_the_limiter_shows_them() {
    const SECRET: &str = "sk-live-0123456789";
    for shows in [false, true] {
        let builder = Limiter::builder(MemoryStorage::new());
        let limiter = if shows { builder.show_keys().build() } else { builder.build() };
        limiter.add_rule(Rule::per_day("api", 1)).unwrap();
        let recorded = record(&limiter);
        for key in [SECRET, "other", SECRET] {
            limiter.check_cost(key, "api", 2).await.unwrap();
        }
        let recorded = recorded.lock().unwrap().clone();
        assert_eq!(recorded[0].key, Key::from(SECRET), "a callback receives the key itself");

        let metrics = limiter.metrics();
        let debug = format!("{metrics:?} {recorded:?} {limiter:?}");
        let json = serde_json::json!([&metrics, &recorded]).to_string();
        assert_eq!((debug.contains(SECRET), json.contains(SECRET)), (shows, shows));

        let recent: Vec<_> = metrics.recent_violations.iter().map(|one| &one.key).collect();
        assert!(recent[0] == recent[2] && recent[0] != recent[1], "{recent:?}");
        assert_eq!(*recent[0] == Key::from(SECRET), shows);
        let written = serde_json::json!(recorded[0])["key"].clone();
        assert_eq!(written, recent[0].to_token(), "a callback and the metrics agree");
    }
}
