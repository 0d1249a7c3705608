//! Keys and names that try to collide, and keys of any shape.

use std::sync::Arc;

use throttle_core::{AtomicStorage, Key, Rule};

use crate::fixtures::{limiter_at_2026, unique};

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    names_and_keys_that_try_to_collide_do_not(storage).await;
    keys_of_any_shape_are_limited(storage).await;
    2
}

async fn names_and_keys_that_try_to_collide_do_not(storage: &Arc<dyn AtomicStorage>) {
    let (limiter, _) = limiter_at_2026(storage);
    let base = unique("collide");
    let tries = [
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
    for (rule, _) in tries {
        limiter.add_rule(Rule::per_day(rule, 1)).unwrap();
    }
    for (rule, key) in tries {
        let key = format!("{key}{base}");
        assert!(limiter.check(&key, rule).await.unwrap().is_allowed(), "{rule:?} with {key:?}");
    }
    for (rule, key) in tries {
        let key = format!("{key}{base}");
        assert!(!limiter.check(&key, rule).await.unwrap().is_allowed(), "{rule:?} with {key:?}");
    }
}

async fn keys_of_any_shape_are_limited(storage: &Arc<dyn AtomicStorage>) {
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
        assert!(limiter.check(key, &rule).await.unwrap().is_allowed(), "the first of {key:.30}");
    }
    for key in &shapes {
        assert!(!limiter.check(key, &rule).await.unwrap().is_allowed(), "the second of {key:.30}");
    }
}
