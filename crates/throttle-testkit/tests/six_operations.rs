//! A storage with only the six operations passes the suite.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use throttle_core::{Storage, StorageError, Value, async_trait};
use throttle_testkit::Suite;

type Entry = (Value, Option<Instant>);

/// A storage that yields between its steps, to provoke races.
#[derive(Clone, Default)]
struct SixOperations {
    map: Arc<Mutex<HashMap<String, Entry>>>,
}

impl SixOperations {
    fn live(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        let mut map = self.map.lock().expect("no test panics under the lock");
        map.retain(|_, (_, end)| end.is_none_or(|end| end > Instant::now()));
        map
    }
}

fn end(ttl: Option<Duration>) -> Option<Instant> {
    ttl.map(|ttl| Instant::now() + ttl)
}

#[async_trait]
impl Storage for SixOperations {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        tokio::task::yield_now().await;
        let value = self.live().get(key).map(|(value, _)| value.clone());
        tokio::task::yield_now().await;
        Ok(value)
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        assert_ne!(ttl, Some(Duration::ZERO), "a state without a lifetime must not be stored");
        tokio::task::yield_now().await;
        self.live().insert(key.to_owned(), (value, end(ttl)));
        Ok(())
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let mut map = self.live();
        let (value, _) = map.entry(key.to_owned()).or_insert_with(|| (0.into(), end(ttl)));
        let old = value.as_i64().ok_or_else(|| StorageError::not_an_integer(key))?;
        let sum = old.checked_add(amount).ok_or_else(|| StorageError::overflow(key))?;
        *value = sum.into();
        Ok(sum)
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.live().remove(key).is_some())
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.live().contains_key(key))
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        Ok(std::mem::take(&mut *self.live()).len() as u64)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storage_with_six_operations_conforms() {
    let storage = SixOperations::default();
    let report = Suite::new(|| async { storage.clone() }).run().await;
    assert_eq!((report.vectors, report.decisions), (225, 8_940));
    assert!(report.checks > 80, "{report:?}");
}
