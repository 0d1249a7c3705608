//! Storages of the six operations: one that answers later, and one that cannot.

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use throttle_core::{Storage, StorageError, Value, async_trait};
use tokio::task::yield_now;

/// Yields before and after everything it does, so that no reply is ever ready. Nothing expires: the
/// clock of a test stands.
#[derive(Clone, Default)]
pub struct Later {
    map: Arc<Mutex<HashMap<String, Value>>>,
}

impl Later {
    async fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Value>) -> T) -> T {
        yield_now().await;
        let answer = work(&mut self.map.lock().unwrap());
        yield_now().await;
        answer
    }
}

#[async_trait]
impl Storage for Later {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        Ok(self.with(|map| map.get(key).cloned()).await)
    }

    async fn set(&self, key: &str, value: Value, _: Option<Duration>) -> Result<(), StorageError> {
        self.with(|map| map.insert(key.to_owned(), value)).await;
        Ok(())
    }

    async fn increment(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, StorageError> {
        Err(StorageError::not_carried_out("no limiter increments"))
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.with(|map| map.remove(key)).await.is_some())
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.with(|map| map.contains_key(key)).await)
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        Ok(self.with(|map| std::mem::take(map).len() as u64).await)
    }
}

/// Is down, or panics, for as long as it is told to.
#[derive(Clone, Default)]
pub struct Failing {
    storage: Later,
    down: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

impl Failing {
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Relaxed);
    }

    pub fn set_panics(&self, panics: bool) {
        self.panics.store(panics, Relaxed);
    }

    fn up(&self) -> Result<&Later, StorageError> {
        if self.panics.load(Relaxed) {
            resume_unwind(Box::new("the storage panics"));
        }
        match self.down.load(Relaxed) {
            true => Err(StorageError::not_carried_out("connection refused")),
            false => Ok(&self.storage),
        }
    }
}

#[async_trait]
impl Storage for Failing {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        self.up()?.get(key).await
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        self.up()?.set(key, value, ttl).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        self.up()?.increment(key, amount, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.up()?.delete(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.up()?.exists(key).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.up()?.clear().await
    }
}
