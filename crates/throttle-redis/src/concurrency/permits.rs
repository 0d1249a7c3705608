//! The permits in Redis, and those that this process holds.

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue, cmd};
use throttle_core::StorageError;

use super::held::HeldPermits;
use crate::{
    background::Background,
    client::Client,
    error::unreadable,
    lua::{CONCURRENCY, ScriptCall},
};

/// The permits of one prefix.
pub(super) struct Permits {
    pub(super) client: Arc<Client>,
    pub(super) held: HeldPermits,
}

impl Permits {
    pub(super) fn new(client: Arc<Client>, lease: Duration) -> Self {
        Self { client, held: HeldPermits::new(lease) }
    }

    /// Returns where calls are made that nobody waits for.
    pub(super) fn background(&self) -> &Arc<Background> {
        &self.client.topology.background
    }

    /// Calls the script.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        call: &ScriptCall,
    ) -> Result<T, StorageError> {
        let answer = self.client.run(call).await?;
        // What was done is known to Redis alone.
        redis::from_redis_value(answer).map_err(|error| StorageError::other(unreadable(&error)))
    }

    pub(super) async fn release(&self, key: &str, id: &str) {
        if let Err(error) = self.client.call(key, cmd("ZREM").arg(key).arg(id)).await {
            tracing::debug!(%error, "a permit was not released; it is free when its lease is over");
        }
    }
}

/// Begins a call of the script.
pub(super) fn call(key: &str, op: &str) -> ScriptCall {
    let mut call = CONCURRENCY.call(&[key]);
    call.arg(op);
    call
}
