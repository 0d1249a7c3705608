//! The six operations of a storage, for users' own values.

use std::{sync::Arc, time::Duration};

use redis::{Value as Answer, cmd};
use throttle_core::{AtomicStorage, Storage, StorageError, Value, async_trait};

use crate::{
    client::{Client, unexpected},
    error::unreadable,
    lua::INCREMENT,
    storage::RedisStorage,
    topology::Server,
    ttl::millis,
};

/// The `COUNT` of a `SCAN`: the number of keys that one call examines.
const SCAN_COUNT: usize = 1_000;

#[async_trait]
impl Storage for RedisStorage {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let name = self.client.keys.of_value(key);
        match self.client.call(&name, cmd("GET").arg(&name)).await? {
            Answer::Nil => Ok(None),
            Answer::BulkString(bytes) => Ok(Some(bytes.into())),
            answer => Err(unexpected("GET", &answer)),
        }
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        let name = self.client.keys.of_value(key);
        if ttl == Some(Duration::ZERO) {
            return self.client.unlink(&name).await.map(|_| ()); // it expires at once
        }
        let mut command = cmd("SET");
        command.arg(&name).arg(value.as_bytes());
        if let Some(ttl) = ttl {
            command.arg("PX").arg(millis(ttl));
        }
        self.client.call(&name, &command).await?;
        Ok(())
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let name = self.client.keys.of_value(key);
        let answer = match ttl {
            None => self.client.call(&name, cmd("INCRBY").arg(&name).arg(amount)).await,
            Some(ttl) => {
                let mut call = INCREMENT.call(&[&name]);
                self.client.run(call.arg(amount).arg(millis(ttl))).await
            }
        };
        match answer {
            Ok(Answer::Int(sum)) => Ok(sum),
            Ok(Answer::BulkString(sum)) => {
                Value::from(sum).as_i64().ok_or_else(|| StorageError::not_an_integer(key))
            }
            Ok(answer) => Err(unexpected("INCRBY", &answer)),
            Err(failure) => {
                let text = failure.error_reply().map(ToString::to_string).unwrap_or_default();
                if text.contains("overflow") {
                    Err(StorageError::overflow(key))
                } else if text.contains("not an integer") || text.contains("WRONGTYPE") {
                    Err(StorageError::not_an_integer(key))
                } else {
                    Err(failure.into())
                }
            }
        }
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.client.unlink(&self.client.keys.of_value(key)).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        let name = self.client.keys.of_value(key);
        match self.client.call(&name, cmd("EXISTS").arg(&name)).await? {
            Answer::Int(count) => Ok(count > 0),
            answer => Err(unexpected("EXISTS", &answer)),
        }
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        let mut cleared = 0;
        for server in self.client.topology.masters().await? {
            cleared += clear(&self.client, &server).await?;
        }
        Ok(cleared)
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}

/// Removes all keys with the prefix from one server, and returns their number.
async fn clear(client: &Client, server: &Server) -> Result<u64, StorageError> {
    let pattern = format!("{}*", escaped(client.keys.prefix()));
    let mut cursor = "0".to_owned();
    let mut cleared = 0;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
        let answer = client.topology.call_at(server, &scan).await?;
        let (next, keys): (String, Vec<Vec<u8>>) = redis::from_redis_value(answer)
            .map_err(|error| StorageError::not_carried_out(unreadable(&error)))?;
        // Redis Cluster rejects a command with keys of several slots, so each slot gets its own command.
        for together in keys.chunk_by(|one, two| client.topology.share_slot(one, two)) {
            let mut command = cmd("UNLINK");
            command.arg(together);
            if let Answer::Int(count) = client.topology.call(&together[0], &command).await? {
                cleared += u64::try_from(count).unwrap_or(0);
            }
        }
        if next == "0" {
            return Ok(cleared);
        }
        cursor = next;
    }
}

/// Escapes a text, so that as a pattern it matches only itself.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_a_prefix_are_escaped() {
        assert_eq!(escaped("a*b?[c]\\"), "a\\*b\\?\\[c\\]\\\\");
    }
}
