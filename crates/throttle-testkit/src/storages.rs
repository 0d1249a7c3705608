//! Storages for tests: one that is never ready at once, and one that fails on demand.

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use throttle_core::{Storage, StorageError, Value, async_trait};
use tokio::task::yield_now;

use crate::trap::Trap;

/// A storage that yields before and after each operation, so that no reply is ready at once.
///
/// Values never expire, because tests use a manual clock.
#[derive(Clone, Default, Debug)]
pub struct Later {
    map: Arc<Mutex<HashMap<String, Value>>>,
}

impl Later {
    async fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Value>) -> T) -> T {
        yield_now().await;
        let output = work(&mut self.map.lock().unwrap_or_else(PoisonError::into_inner));
        yield_now().await;
        output
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
        Err(StorageError::not_carried_out("this storage does not support increment"))
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

/// A storage that a test can make fail or panic; clones share its state.
///
/// # Examples
///
/// ```
/// # use throttle_core::Storage; use throttle_testkit::storages::Failing;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let storage = Failing::default();
/// assert!(storage.get("key").await.is_ok());
/// storage.set_down(true);
/// assert!(storage.get("key").await.is_err());
/// # }
/// ```
#[derive(Clone, Default, Debug)]
pub struct Failing {
    storage: Later,
    down: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    /// Makes one read panic after it is set.
    trap: Trap,
}

impl Failing {
    pub(crate) fn new(trap: Trap) -> Self {
        Self { trap, ..Self::default() }
    }

    /// Sets whether every operation returns an error.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Relaxed);
    }

    /// Sets whether every operation panics.
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
        let storage = self.up()?;
        yield_now().await;
        self.trap.spring();
        storage.get(key).await
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
