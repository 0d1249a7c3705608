//! Storages of the six operations that fail, or panic.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use throttle_core::{Storage, StorageError, Value, async_trait};
use tokio::task::yield_now;

use super::Trap;

/// Reads over a trap, while others wait for what it is about to write. Nothing expires.
pub(super) struct Trapped {
    map: Mutex<HashMap<String, Value>>,
    trap: Trap,
}

impl Trapped {
    pub(super) fn new(trap: Trap) -> Self {
        Self { map: Mutex::default(), trap }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, Value>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Storage for Trapped {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        yield_now().await;
        self.trap.spring();
        Ok(self.map().get(key).cloned())
    }

    async fn set(&self, key: &str, value: Value, _: Option<Duration>) -> Result<(), StorageError> {
        self.map().insert(key.to_owned(), value);
        Ok(())
    }

    async fn increment(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, StorageError> {
        Err(StorageError::not_carried_out("no limiter increments"))
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.map().remove(key).is_some())
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.map().contains_key(key))
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        Ok(std::mem::take(&mut *self.map()).len() as u64)
    }
}

/// Fails at all times.
pub(in crate::http) struct Down;

fn down<T>() -> Result<T, StorageError> {
    Err(StorageError::not_carried_out("connection refused"))
}

#[async_trait]
impl Storage for Down {
    async fn get(&self, _: &str) -> Result<Option<Value>, StorageError> {
        down()
    }

    async fn set(&self, _: &str, _: Value, _: Option<Duration>) -> Result<(), StorageError> {
        down()
    }

    async fn increment(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, StorageError> {
        down()
    }

    async fn delete(&self, _: &str) -> Result<bool, StorageError> {
        down()
    }

    async fn exists(&self, _: &str) -> Result<bool, StorageError> {
        down()
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        down()
    }
}
