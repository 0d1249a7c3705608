//! The allow list and the deny list that several servers share.
//!
//! Redis keeps the entries and a stream of the latest changes. Each server process has a copy of the entries.
//! It reads all entries once, in pages, and then polls for changes after the last one that it has. If that
//! change is no longer in the stream (after a failover, or after too many changes), it reads all entries again.

mod copy;
mod following;
mod reading;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use throttle_core::{
    Entry, ListEntry, ListMatch, ListStorage, ListSubscriber, ListSubscription, StorageError,
    async_trait,
};

use self::{
    copy::MAX_LIST_ENTRIES,
    following::Following,
    reading::{call, load, number},
};
use crate::{client::Client, ttl};

/// The longest lifetime of an entry, a hundred years.
const MAX_MS: u64 = 100 * 365 * 86_400_000;

/// The shared lists of one key prefix.
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
        list: ListMatch,
        entry: &Entry,
        span: Option<Duration>,
    ) -> Result<(), StorageError> {
        let millis = span.map(|span| ttl::millis(span).min(MAX_MS));
        let millis = millis.map(|millis| millis.to_string()).unwrap_or_default();
        let answer = call(&self.client, |call| {
            let call = call.arg("add").arg(number(list)).arg(entry.encode());
            call.arg(millis).arg(MAX_LIST_ENTRIES);
        });
        match answer.await?.status() {
            "full" => Err(StorageError::not_carried_out(format!(
                "the shared lists are full: they have {MAX_LIST_ENTRIES} entries. Remove entries, add them with an \
                 expiry, or add networks instead of addresses"
            ))),
            _ => Ok(()),
        }
    }

    async fn remove(&self, list: ListMatch, entry: &Entry) -> Result<bool, StorageError> {
        let answer = call(&self.client, |call| {
            call.arg("remove").arg(number(list)).arg(entry.encode());
        });
        Ok(answer.await?.status() == "done")
    }

    async fn load(&self) -> Result<Vec<ListEntry>, StorageError> {
        Ok(load(&self.client).await?.into_entries())
    }

    fn subscribe(&self, follower: Weak<dyn ListSubscriber>) -> Arc<dyn ListSubscription> {
        Following::start(&self.client, follower)
    }
}
