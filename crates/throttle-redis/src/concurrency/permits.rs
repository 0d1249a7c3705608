//! The calls for permits in Redis.

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

/// The permits of one key prefix, in Redis and held by this process.
pub(super) struct Permits {
    pub(super) client: Arc<Client>,
    pub(super) held: HeldPermits,
}

impl Permits {
    pub(super) fn new(client: Arc<Client>, lease: Duration) -> Self {
        Self { client, held: HeldPermits::new(lease) }
    }

    /// Returns the tasks that make calls in the background.
    pub(super) fn background(&self) -> &Arc<Background> {
        &self.client.topology.background
    }

    /// Calls the concurrency script.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        call: &ScriptCall,
    ) -> Result<T, StorageError> {
        let answer = self.client.run(call).await?;
        // The effect is unknown: Redis ran the script, but its answer cannot be decoded.
        redis::from_redis_value(answer).map_err(|error| StorageError::other(unreadable(&error)))
    }

    /// Releases a permit, and returns whether it is released now.
    pub(super) async fn release(&self, key: &str, id: &str) -> bool {
        let released = self.client.call(key, cmd("ZREM").arg(key).arg(id)).await;
        if let Err(error) = &released {
            tracing::debug!(
                target: "ratethrottle::redis",
                %error, "a permit could not be released; it becomes free when its lease expires"
            );
        }
        released.is_ok()
    }
}

/// Creates a call of the concurrency script.
pub(super) fn call(key: &str, op: &str) -> ScriptCall {
    let mut call = CONCURRENCY.call(&[key]);
    call.arg(op);
    call
}
