//! The contract of the six operations.

use std::{sync::Arc, time::Duration};

use throttle_core::{AtomicStorage, Clock, Storage, SystemClock, Value};

use crate::fixtures::unique;

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    set_replaces_value_and_lifetime(storage).await;
    what_is_absent_is_absent_to_every_operation(storage).await;
    any_bytes_come_back_as_they_were(storage).await;
    increment_counts_and_refuses_what_it_cannot(storage).await;
    increment_leaves_a_lifetime_alone(storage).await;
    what_expires_is_gone_by_itself(storage).await;
    increments_of_many_tasks_all_count(storage).await;
    7
}

async fn set_replaces_value_and_lifetime(storage: &Arc<dyn AtomicStorage>) {
    let key = unique("set");
    storage.set(&key, "one".into(), Some(SHORT)).await.unwrap();
    storage.set(&key, "two".into(), None).await.unwrap();
    wait(2 * SHORT).await;
    assert_eq!(storage.get(&key).await.unwrap(), Some("two".into()), "set without ttl stays");
    assert!(storage.delete(&key).await.unwrap());
}

async fn what_is_absent_is_absent_to_every_operation(storage: &Arc<dyn AtomicStorage>) {
    let key = unique("absent");
    assert_eq!(storage.get(&key).await.unwrap(), None);
    assert!(!storage.exists(&key).await.unwrap());
    assert!(!storage.delete(&key).await.unwrap());
    storage.set(&key, "".into(), None).await.unwrap();
    assert_eq!(storage.get(&key).await.unwrap(), Some("".into()), "empty is not absent");
    assert!(storage.exists(&key).await.unwrap());
    assert!(storage.delete(&key).await.unwrap());
    assert!(!storage.delete(&key).await.unwrap(), "deleted twice");
    assert!(!storage.exists(&key).await.unwrap());
}

async fn any_bytes_come_back_as_they_were(storage: &Arc<dyn AtomicStorage>) {
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
        assert_eq!(value.unwrap().as_bytes(), [i as u8, 0, 0xff, b'\n'], "under {key:.20?}");
    }
    let big = Value::from(vec![7; 1 << 20]);
    storage.set(&base, big.clone(), Some(LONG)).await.unwrap();
    assert_eq!(storage.get(&base).await.unwrap(), Some(big), "a value of 1 MiB");
}

async fn increment_counts_and_refuses_what_it_cannot(storage: &Arc<dyn AtomicStorage>) {
    let key = unique("increment");
    assert_eq!(storage.increment(&key, 5, Some(LONG)).await.unwrap(), 5);
    assert_eq!(storage.increment(&key, -7, None).await.unwrap(), -2);
    assert_eq!(storage.get(&key).await.unwrap().unwrap().as_i64(), Some(-2));

    storage.set(&key, i64::MAX.into(), Some(LONG)).await.unwrap();
    assert!(storage.increment(&key, 1, None).await.is_err(), "an overflow is an error");
    assert_eq!(storage.get(&key).await.unwrap(), Some(i64::MAX.into()), "and changes nothing");
    storage.set(&key, i64::MIN.into(), Some(LONG)).await.unwrap();
    assert!(storage.increment(&key, -1, None).await.is_err());

    for text in ["ten", "", "1.5", " 1", "99999999999999999999"] {
        storage.set(&key, text.into(), Some(LONG)).await.unwrap();
        assert!(storage.increment(&key, 1, None).await.is_err(), "{text:?} is no whole number");
        assert_eq!(storage.get(&key).await.unwrap(), Some(text.into()), "and stays");
    }
}

async fn increment_leaves_a_lifetime_alone(storage: &Arc<dyn AtomicStorage>) {
    let (new, set, lasting) = (unique("new"), unique("set"), unique("lasting"));
    storage.increment(&new, 1, Some(SHORT)).await.unwrap();
    storage.set(&set, 1.into(), Some(SHORT)).await.unwrap();
    storage.set(&lasting, 1.into(), None).await.unwrap();
    wait(SHORT / 3).await;
    for key in [&new, &set] {
        assert_eq!(storage.increment(key, 1, Some(LONG)).await.unwrap(), 2);
    }
    storage.increment(&lasting, 1, Some(SHORT)).await.unwrap();
    wait(SHORT).await;
    assert_eq!(storage.get(&new).await.unwrap(), None, "ttl is for new keys only");
    assert_eq!(storage.get(&set).await.unwrap(), None, "ttl is for new keys only");
    assert_eq!(storage.increment(&new, 1, None).await.unwrap(), 1, "an expired key counts as 0");
    assert_eq!(storage.get(&lasting).await.unwrap(), Some(2.into()));
    assert!(storage.delete(&lasting).await.unwrap());
    assert!(storage.delete(&new).await.unwrap());
}

async fn what_expires_is_gone_by_itself(storage: &Arc<dyn AtomicStorage>) {
    let key = unique("expires");
    storage.set(&key, "here".into(), Some(SHORT)).await.unwrap();
    assert!(storage.exists(&key).await.unwrap());
    wait(SHORT + SHORT / 3).await;
    assert_eq!(storage.get(&key).await.unwrap(), None);
    assert!(!storage.exists(&key).await.unwrap());
    assert!(!storage.delete(&key).await.unwrap(), "an expired key is no live key");
}

async fn increments_of_many_tasks_all_count(storage: &Arc<dyn AtomicStorage>) {
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
    assert_eq!(storage.get(&key).await.unwrap(), Some((TASKS * EACH).into()));
}

pub(crate) async fn check_clear(storage: &Arc<dyn AtomicStorage>) -> usize {
    storage.clear().await.unwrap();
    let keys: Vec<_> = (0..50).map(|_| unique("clear")).collect();
    for key in &keys {
        storage.set(key, "x".into(), Some(LONG)).await.unwrap();
    }
    assert_eq!(storage.clear().await.unwrap(), 50, "clear says how many there were");
    for key in &keys {
        assert!(!storage.exists(key).await.unwrap(), "clear leaves nothing");
    }
    assert_eq!(storage.clear().await.unwrap(), 0);
    1
}

pub(crate) async fn wait(span: Duration) {
    SystemClock.sleep(span).await;
}
