//! The allow and the deny list that servers share.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use redis::Value;
use throttle_core::{ListEntry, ListFollower, ListStorage, Listed, StorageError, async_trait};

use crate::{
    client::Client,
    error::unreadable,
    lua::{LISTS, ScriptCall},
    ttl,
};

/// The lists are looked at this often; when nothing changed, that is all that is read.
const EVERY: Duration = Duration::from_millis(500);
/// And all of them are read once in so many times.
const ALL_EVERY: u32 = 20;
/// What no version is called.
const NO_VERSION: &str = "-";
/// The longest time that an entry has: a hundred years.
const LONGEST_MS: u64 = 100 * 365 * 86_400_000;

/// The lists of one prefix.
pub(crate) struct Lists {
    client: Arc<Client>,
}

impl Lists {
    pub(crate) fn new(client: &Arc<Client>) -> Self {
        Self { client: Arc::clone(client) }
    }
}

#[async_trait]
impl ListStorage for Lists {
    async fn add(
        &self,
        list: Listed,
        entry: &str,
        span: Option<Duration>,
    ) -> Result<(), StorageError> {
        let millis = span.map(|span| ttl::millis(span).min(LONGEST_MS));
        let millis = millis.map(|millis| millis.to_string()).unwrap_or_default();
        call(&self.client, |call| {
            call.arg("add").arg(number(list)).arg(entry).arg(millis);
        })
        .await
        .map(|_| ())
    }

    async fn remove(&self, list: Listed, entry: &str) -> Result<bool, StorageError> {
        let answer = call(&self.client, |call| {
            call.arg("remove").arg(number(list)).arg(entry).arg("");
        });
        Ok(answer.await? == Value::Int(1))
    }

    async fn load(&self) -> Result<Vec<ListEntry>, StorageError> {
        Ok(load(&self.client, NO_VERSION).await?.1.unwrap_or_default())
    }

    fn follow(&self, follower: Weak<dyn ListFollower>) {
        let client = Arc::downgrade(&self.client);
        self.client
            .topology
            .background
            .spawn_detached(move || follow(Weak::clone(&client), Weak::clone(&follower)));
    }
}

async fn follow(client: Weak<Client>, follower: Weak<dyn ListFollower>) {
    let mut known = NO_VERSION.to_owned();
    let mut well = true;
    for turn in 1_u32.. {
        let Some(client) = client.upgrade() else { return };
        if follower.strong_count() == 0 {
            return;
        }
        if turn % ALL_EVERY == 0 {
            // Who changed the lists read them then, whatever became of them since.
            known = NO_VERSION.to_owned();
        }
        match load(&client, &known).await {
            Ok((version, entries)) => {
                known = version;
                well = true;
                if let (Some(entries), Some(follower)) = (entries, follower.upgrade()) {
                    follower.take(&entries);
                }
            }
            Err(error) if well => {
                well = false;
                known = NO_VERSION.to_owned();
                tracing::warn!(%error, "the shared lists cannot be read; they stay as they were");
            }
            Err(_) => {}
        }
        drop(client);
        tokio::time::sleep(EVERY).await;
    }
}

fn number(list: Listed) -> u8 {
    match list {
        Listed::Allowed => 1,
        Listed::Denied => 2,
    }
}

/// Returns the version of the lists and, unless it is the one that is known, their entries.
async fn load(
    client: &Client,
    known: &str,
) -> Result<(String, Option<Vec<ListEntry>>), StorageError> {
    let answer = call(client, |call| {
        call.arg("load").arg(known);
    });
    let parts: Vec<String> = redis::from_redis_value(answer.await?)
        .map_err(|error| StorageError::not_carried_out(unreadable(&error)))?;
    let Some((version, parts)) = parts.split_first() else {
        return Err(StorageError::not_carried_out("the lists were answered by nothing"));
    };
    if version == known {
        return Ok((version.clone(), None));
    }
    let entries = parts.chunks_exact(3).map(|part| ListEntry {
        list: if part[0] == "1" { Listed::Allowed } else { Listed::Denied },
        entry: part[1].clone(),
        left: part[2].parse().ok().map(Duration::from_millis),
    });
    Ok((version.clone(), Some(entries.collect())))
}

async fn call(
    client: &Client,
    arguments: impl FnOnce(&mut ScriptCall),
) -> Result<Value, StorageError> {
    // No identity is written so: what follows a % in one is hexadecimal.
    let name = |name| client.keys.of_value(&format!("{{%lists}}:{name}"));
    let mut call = LISTS.call(&[name("allow"), name("deny"), name("version")]);
    arguments(&mut call);
    Ok(client.run(&call).await?)
}
