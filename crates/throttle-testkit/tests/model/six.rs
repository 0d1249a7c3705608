//! A storage with only the six operations, as a user would write it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use throttle_core::{Storage, StorageError, Value, async_trait};

type Entry = (Value, Option<Instant>);

#[derive(Clone, Default)]
pub(crate) struct SixOperations(Arc<Mutex<HashMap<String, Entry>>>);

impl SixOperations {
    /// Locks the map, in which an expired key is absent.
    fn live(&self, key: &str) -> MutexGuard<'_, HashMap<String, Entry>> {
        let mut map = self.0.lock().unwrap();
        let ended = |(_, end): &Entry| end.is_some_and(|end| end <= Instant::now());
        if map.get(key).is_some_and(ended) {
            map.remove(key);
        }
        map
    }
}

#[async_trait]
impl Storage for SixOperations {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        Ok(self.live(key).get(key).map(|(value, _)| value.clone()))
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        let end = ttl.map(|ttl| Instant::now() + ttl);
        self.live(key).insert(key.to_owned(), (value, end));
        Ok(())
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let end = ttl.map(|ttl| Instant::now() + ttl);
        let mut map = self.live(key);
        let (value, _) = map.entry(key.to_owned()).or_insert_with(|| (0.into(), end));
        let old = value.as_i64().ok_or_else(|| StorageError::not_an_integer(key))?;
        let sum = old.checked_add(amount).ok_or_else(|| StorageError::overflow(key))?;
        *value = sum.into();
        Ok(sum)
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.live(key).remove(key).is_some())
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.live(key).contains_key(key))
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        Ok(std::mem::take(&mut *self.0.lock().unwrap()).len() as u64)
    }
}
