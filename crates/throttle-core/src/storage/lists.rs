//! Lists that live in a storage, so that all servers which use it go by them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;

use super::error::StorageError;
use crate::{decision::ListMatch, entry::Entry};

/// A storage of the entries of the allow and the deny list that all servers share.
///
/// A storage that can do it returns it from [`AtomicStorage::lists`](super::AtomicStorage::lists). Users
/// reach it by [`Limiter::shared_lists`](crate::Limiter::shared_lists). What it stores of an entry is
/// [`Entry::encode`].
#[async_trait]
pub trait ListStorage: Send + Sync + 'static {
    /// Adds an entry, for a time or until it is removed; one that is there gets the new end.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when it was not added, or may not have been.
    async fn add(
        &self,
        list: ListMatch,
        entry: &Entry,
        span: Option<Duration>,
    ) -> Result<(), StorageError>;

    /// Removes an entry and returns whether it was there.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot tell.
    async fn remove(&self, list: ListMatch, entry: &Entry) -> Result<bool, StorageError>;

    /// Returns the entries of both lists that are in force, each once.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot tell.
    async fn load(&self) -> Result<Vec<ListEntry>, StorageError>;

    /// Begins to pass the entries to `follower`: all at first, then each change within a second, until it
    /// is dropped.
    ///
    /// While the storage cannot be read, the entries that were passed stay in force.
    fn subscribe(&self, follower: Weak<dyn ListSubscriber>) -> Arc<dyn ListSubscription>;
}

/// The reading of a storage's lists by one follower.
#[async_trait]
pub trait ListSubscription: Send + Sync + 'static {
    /// Passes to the follower all that changed until now, rather than within a second.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot be read now.
    async fn catch_up(&self) -> Result<(), StorageError>;
}

/// A copy of a storage's lists.
pub trait ListSubscriber: Send + Sync + 'static {
    /// Replaces the copy by these entries.
    fn take(&self, entries: Vec<ListEntry>);

    /// Applies changes in their order; an entry with no time left is removed.
    fn apply(&self, changes: Vec<ListEntry>);

    /// Reports whether the storage was read.
    fn report(&self, read: Result<(), &StorageError>);
}

/// An entry of a list that lives in a storage.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "storages make it, field by field")]
pub struct ListEntry {
    /// Which list it is in.
    pub list: ListMatch,
    /// The key, address or network.
    pub entry: Entry,
    /// How long it is still in force; none until it is removed.
    pub left: Option<Duration>,
}
