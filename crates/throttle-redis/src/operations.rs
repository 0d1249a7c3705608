//! The six operations.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value as Answer, cmd};
use throttle_core::{AtomicStorage, Storage, StorageError, Value, async_trait};

use crate::{RedisStorage, lua::INCREMENT, storage::Inner, topology::Server};

/// What one step of a walk over the keys looks at.
const STEP: usize = 1_000;
/// The longest lifetime that Redis takes is some 290 million years; this is a tenth of that.
const LONGEST_MS: u128 = 1 << 60;

#[async_trait]
impl Storage for RedisStorage {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let name = self.inner.keys.of_value(key);
        match self.inner.call(&name, cmd("GET").arg(&name)).await? {
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
        let name = self.inner.keys.of_value(key);
        if ttl == Some(Duration::ZERO) {
            return unlink(&self.inner, &name).await.map(|_| ()); // expired as soon as it is there
        }
        let mut command = cmd("SET");
        command.arg(&name).arg(value.as_bytes());
        if let Some(ttl) = ttl {
            command.arg("PX").arg(millis(ttl));
        }
        self.inner.call(&name, &command).await.map(|_| ())
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let name = self.inner.keys.of_value(key);
        let topology = &self.inner.topology;
        let answer = match ttl {
            None => topology.call(name.as_bytes(), cmd("INCRBY").arg(&name).arg(amount)).await,
            Some(ttl) => {
                let mut call = INCREMENT.call(&[&name]);
                topology.run(call.arg(amount).arg(millis(ttl))).await
            }
        };
        match answer {
            Ok(Answer::Int(sum)) => Ok(sum),
            Ok(Answer::BulkString(sum)) => {
                Value::from(sum).as_i64().ok_or_else(|| StorageError::not_an_integer(key))
            }
            Ok(answer) => Err(unexpected("INCRBY", &answer)),
            Err(failure) => {
                let said = failure.refusal().map(ToString::to_string).unwrap_or_default();
                if said.contains("overflow") {
                    Err(StorageError::overflow(key))
                } else if said.contains("not an integer") || said.contains("WRONGTYPE") {
                    Err(StorageError::not_an_integer(key))
                } else {
                    Err(failure.into())
                }
            }
        }
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        unlink(&self.inner, &self.inner.keys.of_value(key)).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        let name = self.inner.keys.of_value(key);
        match self.inner.call(&name, cmd("EXISTS").arg(&name)).await? {
            Answer::Int(count) => Ok(count > 0),
            answer => Err(unexpected("EXISTS", &answer)),
        }
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        let mut cleared = 0;
        for server in self.inner.topology.masters().await? {
            cleared += clear(&self.inner, &server).await?;
        }
        Ok(cleared)
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}

impl Inner {
    async fn call(&self, key: &str, command: &Cmd) -> Result<Answer, StorageError> {
        Ok(self.topology.call(key.as_bytes(), command).await?)
    }
}

/// Removes a key, and returns whether it was there.
pub(crate) async fn unlink(inner: &Inner, key: &str) -> Result<bool, StorageError> {
    match inner.call(key, cmd("UNLINK").arg(key)).await? {
        Answer::Int(count) => Ok(count > 0),
        answer => Err(unexpected("UNLINK", &answer)),
    }
}

/// Removes what begins with the prefix from one server, and says how much it was.
async fn clear(inner: &Inner, server: &Server) -> Result<u64, StorageError> {
    let pattern = format!("{}*", escaped(inner.keys.prefix()));
    let mut cursor = "0".to_owned();
    let mut cleared = 0;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(STEP);
        let answer = inner.topology.call_at(server, &scan).await?;
        let (next, keys): (String, Vec<Vec<u8>>) = redis::from_redis_value(answer)
            .map_err(|error| StorageError::not_carried_out(error.to_string()))?;
        // Keys of several slots may not be in one command, and each goes where it lives.
        for together in keys.chunk_by(|one, two| inner.topology.share_a_server(one, two)) {
            let mut command = cmd("UNLINK");
            command.arg(together);
            if let Answer::Int(count) = inner.topology.call(&together[0], &command).await? {
                cleared += u64::try_from(count).unwrap_or(0);
            }
        }
        if next == "0" {
            return Ok(cleared);
        }
        cursor = next;
    }
}

/// Writes a text as a pattern that matches nothing else.
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

/// Returns a lifetime in whole milliseconds, rounded up.
fn millis(ttl: Duration) -> u64 {
    let millis = ttl.as_micros().div_ceil(1000).clamp(1, LONGEST_MS);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

fn unexpected(command: &str, answer: &Answer) -> StorageError {
    let answer = format!("{answer:?}").chars().take(80).collect::<String>();
    StorageError::other(format!("{command} was answered by {answer}, which makes no sense"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_rounded_up_and_never_zero() {
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_micros(1_001)), 2);
        assert_eq!(millis(Duration::from_secs(1)), 1_000);
        assert_eq!(u128::from(millis(Duration::MAX)), LONGEST_MS);
    }

    #[test]
    fn a_prefix_of_wildcards_is_escaped() {
        assert_eq!(escaped("a*b?[c]\\"), "a\\*b\\?\\[c\\]\\\\");
    }
}
