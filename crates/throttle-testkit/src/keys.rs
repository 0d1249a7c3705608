//! Keys and rule names that could collide, and unusual keys.

use std::sync::Arc;

use throttle_core::{AtomicStorage, Key, Rule};

use crate::fixtures::{limiter_at_2026, unique};

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    rule_names_and_keys_never_collide(storage).await;
    unusual_keys_are_limited(storage).await;
    2
}

async fn rule_names_and_keys_never_collide(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, _) = limiter_at_2026(storage);
    let base = unique("collide");
    let pairs = [
        ("a:b", "c"),
        ("a", "b:c"),
        ("a}:b", "c"),
        ("a", "c}:b"),
        ("a", "{c}"),
        ("a", "c"),
        ("a", "C"),
        ("a", "%63"),
        ("A", "c"),
        ("a b", "c"),
        ("a%20b", "c"),
    ];
    for (rule, _) in pairs {
        limiter.add_rule(Rule::per_day(rule, 1)).unwrap();
    }
    for (rule, key) in pairs {
        let key = format!("{key}{base}");
        let decision = limiter.check(&key, rule).await.unwrap();
        assert!(decision.is_allowed(), "rule {rule:?}, key {key:?}: another pair was charged");
    }
    for (rule, key) in pairs {
        let key = format!("{key}{base}");
        let decision = limiter.check(&key, rule).await.unwrap();
        assert!(!decision.is_allowed(), "rule {rule:?}, key {key:?}: its charge was lost");
    }
}

async fn unusual_keys_are_limited(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, _) = limiter_at_2026(storage);
    let rule = unique("shape");
    limiter.add_rule(Rule::per_day(&rule, 1)).unwrap();
    let long = "k".repeat(64 * 1024);
    let other = format!("{long}x");
    let shapes: [Key<'_>; 9] = [
        "".into(),
        " ".into(),
        "\0".into(),
        "{".into(),
        "\r\nFLUSHALL\r\n".into(),
        vec![0xff, 0xfe].into(),
        Key::parts(["a", "b"]),
        long.as_str().into(),
        other.as_str().into(),
    ];
    for key in &shapes {
        assert!(
            limiter.check(key, &rule).await.unwrap().is_allowed(),
            "the first request of {key:.30}"
        );
    }
    for key in &shapes {
        assert!(
            !limiter.check(key, &rule).await.unwrap().is_allowed(),
            "the second request of {key:.30}"
        );
    }
}
