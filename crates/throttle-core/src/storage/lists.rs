//! Allow and deny lists in a storage, which all servers share.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;

use super::error::StorageError;
use crate::{decision::ListMatch, entry::Entry};

/// A storage of the allow and deny lists that all servers share.
///
/// A storage that supports shared lists returns one from [`AtomicStorage::lists`](super::AtomicStorage::lists). Users
/// call [`Limiter::shared_lists`](crate::Limiter::shared_lists). An entry is stored as [`Entry::encode`] writes it.
#[async_trait]
pub trait ListStorage: Send + Sync + 'static {
    /// Adds an entry, for a time or until it is removed; an existing entry gets the new end.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if it was not added, or may not have been added.
    async fn add(
        &self,
        list: ListMatch,
        entry: &Entry,
        span: Option<Duration>,
    ) -> Result<(), StorageError>;

    /// Removes an entry, and returns whether it existed.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if it was not removed, or may not have been removed.
    async fn remove(&self, list: ListMatch, entry: &Entry) -> Result<bool, StorageError>;

    /// Returns the entries of both lists that are in force, each once.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if the storage cannot be read.
    async fn load(&self) -> Result<Vec<ListEntry>, StorageError>;

    /// Starts to send the entries to `subscriber`: first all of them, then each change within a second, until the
    /// subscriber is dropped.
    ///
    /// While the storage cannot be read, the entries that were sent stay in force.
    fn subscribe(&self, subscriber: Weak<dyn ListSubscriber>) -> Arc<dyn ListSubscription>;
}

/// The subscription of one subscriber to the lists of a storage.
#[async_trait]
pub trait ListSubscription: Send + Sync + 'static {
    /// Sends all changes so far to the subscriber now, instead of within a second.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if the storage cannot be read now.
    async fn catch_up(&self) -> Result<(), StorageError>;
}

/// A subscriber, which keeps a copy of a storage's lists.
pub trait ListSubscriber: Send + Sync + 'static {
    /// Replaces the copy with these entries.
    fn take(&self, entries: Vec<ListEntry>);

    /// Applies changes in order; an entry with no time left is removed.
    fn apply(&self, changes: Vec<ListEntry>);

    /// Reports whether the storage was read.
    fn report(&self, read: Result<(), &StorageError>);
}

/// An entry of a list in a storage.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "storages construct it field by field")]
pub struct ListEntry {
    /// The list that contains it.
    pub list: ListMatch,
    /// The key, address or network.
    pub entry: Entry,
    /// The time that it stays in force; `None` if it stays until it is removed.
    pub left: Option<Duration>,
}
