//! The contract of the six operations.

use std::{sync::Arc, time::Duration};

use throttle_core::{AtomicStorage, Clock, Storage, SystemClock, Value};

use crate::fixtures::unique;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    set_replaces_value_and_lifetime(storage).await;
    an_absent_key_is_absent_for_every_operation(storage).await;
    keys_and_values_may_be_any_bytes(storage).await;
    increment_adds_and_returns_an_error_on_overflow_or_other_values(storage).await;
    increment_does_not_change_the_ttl_of_an_existing_key(storage).await;
    an_expired_key_is_absent(storage).await;
    concurrent_increments_are_all_counted(storage).await;
    7
}

async fn set_replaces_value_and_lifetime(storage: &Arc<dyn AtomicStorage>) {
    let key = unique("set");
    storage.set(&key, "one".into(), Some(SHORT)).await.unwrap();
    storage.set(&key, "two".into(), None).await.unwrap();
    wait(2 * SHORT).await;
    assert_eq!(
        storage.get(&key).await.unwrap(),
        Some("two".into()),
        "after a `set` without a ttl, the key must not expire"
    );
    assert!(storage.delete(&key).await.unwrap(), "`delete` of an existing key must return true");
}

async fn an_absent_key_is_absent_for_every_operation(storage: &Arc<dyn AtomicStorage>) {
    let key = unique("absent");
    assert_eq!(storage.get(&key).await.unwrap(), None, "`get` of an absent key must return None");
    assert!(!storage.exists(&key).await.unwrap(), "`exists` of an absent key must return false");
    assert!(!storage.delete(&key).await.unwrap(), "`delete` of an absent key must return false");
    storage.set(&key, "".into(), None).await.unwrap();
    assert_eq!(storage.get(&key).await.unwrap(), Some("".into()), "an empty value must be stored");
    assert!(storage.exists(&key).await.unwrap(), "a key with an empty value must exist");
    assert!(storage.delete(&key).await.unwrap(), "`delete` of an existing key must return true");
    assert!(!storage.delete(&key).await.unwrap(), "`delete` of a deleted key must return false");
    assert!(!storage.exists(&key).await.unwrap(), "`exists` of a deleted key must return false");
}

async fn keys_and_values_may_be_any_bytes(storage: &Arc<dyn AtomicStorage>) {
    let keys = ["{", "}", ":", "a b", "a:b", "*", "ключ", "\n", "%00", &"k".repeat(64 * 1024)];
    let base = unique("bytes");
    for (i, key) in keys.iter().enumerate() {
        let value = Value::from(vec![i as u8, 0, 0xff, b'\n']);
        let set = storage.set(&format!("{base}{key}"), value, Some(LONG)).await;
        set.unwrap_or_else(|error| {
            panic!("a key of {} bytes that ends in {key:.20?}: {error}", base.len() + key.len())
        });
    }
    for (i, key) in keys.iter().enumerate() {
        let value = storage.get(&format!("{base}{key}")).await.unwrap();
        assert_eq!(
            value.unwrap().as_bytes(),
            [i as u8, 0, 0xff, b'\n'],
            "the value of {key:.20?} must not change"
        );
    }
    let big = Value::from(vec![7; 1 << 20]);
    storage.set(&base, big.clone(), Some(LONG)).await.unwrap();
    assert_eq!(
        storage.get(&base).await.unwrap(),
        Some(big),
        "a value of 1 MiB must be stored unchanged"
    );
}

async fn increment_adds_and_returns_an_error_on_overflow_or_other_values(
    storage: &Arc<dyn AtomicStorage>,
) {
    let key = unique("increment");
    let first = storage.increment(&key, 5, Some(LONG)).await.unwrap();
    assert_eq!(first, 5, "`increment` of an absent key must start at 0");
    let second = storage.increment(&key, -7, None).await.unwrap();
    assert_eq!(second, -2, "`increment` must add a negative amount to 5");
    let stored = storage.get(&key).await.unwrap().unwrap();
    assert_eq!(stored.as_i64(), Some(-2), "`get` must return the sum");

    storage.set(&key, i64::MAX.into(), Some(LONG)).await.unwrap();
    assert!(storage.increment(&key, 1, None).await.is_err(), "an overflow must be an error");
    assert_eq!(
        storage.get(&key).await.unwrap(),
        Some(i64::MAX.into()),
        "a failed increment must not change the value"
    );
    storage.set(&key, i64::MIN.into(), Some(LONG)).await.unwrap();
    assert!(storage.increment(&key, -1, None).await.is_err(), "an underflow must be an error");

    for text in ["ten", "", "1.5", " 1", "99999999999999999999"] {
        storage.set(&key, text.into(), Some(LONG)).await.unwrap();
        assert!(
            storage.increment(&key, 1, None).await.is_err(),
            "{text:?} is not an i64, so `increment` must return an error"
        );
        assert_eq!(
            storage.get(&key).await.unwrap(),
            Some(text.into()),
            "a failed increment must not change the value"
        );
    }
}

async fn increment_does_not_change_the_ttl_of_an_existing_key(storage: &Arc<dyn AtomicStorage>) {
    let (new, set, lasting) = (unique("new"), unique("set"), unique("lasting"));
    storage.increment(&new, 1, Some(SHORT)).await.unwrap();
    storage.set(&set, 1.into(), Some(SHORT)).await.unwrap();
    storage.set(&lasting, 1.into(), None).await.unwrap();
    wait(SHORT / 3).await;
    for key in [&new, &set] {
        let sum = storage.increment(key, 1, Some(LONG)).await.unwrap();
        assert_eq!(sum, 2, "`increment` must add 1 to 1");
    }
    storage.increment(&lasting, 1, Some(SHORT)).await.unwrap();
    wait(SHORT).await;
    assert_eq!(
        storage.get(&new).await.unwrap(),
        None,
        "`increment` must not change the ttl of an existing key"
    );
    assert_eq!(
        storage.get(&set).await.unwrap(),
        None,
        "`increment` must not change the ttl of an existing key"
    );
    assert_eq!(
        storage.increment(&new, 1, None).await.unwrap(),
        1,
        "an expired key must count as 0"
    );
    let kept = storage.get(&lasting).await.unwrap();
    assert_eq!(kept, Some(2.into()), "`increment` must not add a ttl to an existing key");
    for key in [&lasting, &new] {
        assert!(storage.delete(key).await.unwrap(), "`delete` of an existing key must return true");
    }
}

async fn an_expired_key_is_absent(storage: &Arc<dyn AtomicStorage>) {
    let key = unique("expires");
    storage.set(&key, "here".into(), Some(SHORT)).await.unwrap();
    assert!(storage.exists(&key).await.unwrap(), "the key must exist before its ttl ends");
    wait(SHORT + SHORT / 3).await;
    assert_eq!(storage.get(&key).await.unwrap(), None, "`get` of an expired key must return None");
    assert!(!storage.exists(&key).await.unwrap(), "`exists` of an expired key must return false");
    assert!(!storage.delete(&key).await.unwrap(), "`delete` of an expired key must return false");
}

async fn concurrent_increments_are_all_counted(storage: &Arc<dyn AtomicStorage>) {
    const TASKS: i64 = 32;
    const EACH: i64 = 100;
    let key = unique("many");
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (storage, key) = (Arc::clone(storage), key.clone());
            tokio::spawn(async move {
                for _ in 0..EACH {
                    storage.increment(&key, 1, Some(LONG)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let sum = storage.get(&key).await.unwrap();
    assert_eq!(sum, Some((TASKS * EACH).into()), "concurrent increments must all be counted");
}

pub(crate) async fn check_clear(storage: &Arc<dyn AtomicStorage>) -> usize {
    storage.clear().await.unwrap();
    let keys: Vec<_> = (0..50).map(|_| unique("clear")).collect();
    for key in &keys {
        storage.set(key, "x".into(), Some(LONG)).await.unwrap();
    }
    assert_eq!(
        storage.clear().await.unwrap(),
        50,
        "`clear` must return the number of deleted keys"
    );
    for key in &keys {
        assert!(!storage.exists(key).await.unwrap(), "`clear` must delete {key:?}");
    }
    assert_eq!(storage.clear().await.unwrap(), 0, "a second `clear` must return 0");
    1
}

pub(crate) async fn wait(span: Duration) {
    SystemClock.sleep(span).await;
}
