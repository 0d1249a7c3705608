//! Lists that live in a storage, so that all servers which use it go by them.

use std::{sync::Weak, time::Duration};

use async_trait::async_trait;

use super::error::StorageError;
use crate::decision::Listed;

/// Keeps entries of the allow and the deny list for all servers that use a storage.
///
/// A storage that can do it says so by [`AtomicStorage::lists`](super::AtomicStorage::lists). Users
/// reach it by [`Limiter::shared_lists`](crate::Limiter::shared_lists).
#[async_trait]
pub trait ListStorage: Send + Sync + 'static {
    /// Adds an entry, for a time or for good; one that is there gets the new end.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when it was not added, or may not have been.
    async fn add(
        &self,
        list: Listed,
        entry: &str,
        span: Option<Duration>,
    ) -> Result<(), StorageError>;

    /// Removes an entry and returns whether it was there.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot say.
    async fn remove(&self, list: Listed, entry: &str) -> Result<bool, StorageError>;

    /// Returns the entries of both lists that are in force.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot say.
    async fn load(&self) -> Result<Vec<ListEntry>, StorageError>;

    /// Hands the entries to `follower` within a second after each change, until it is dropped.
    ///
    /// While the storage cannot be read, what was handed over last stays in force.
    fn follow(&self, follower: Weak<dyn ListFollower>);
}

/// Goes by the lists of a storage.
pub trait ListFollower: Send + Sync + 'static {
    /// Takes all entries that are in force, in place of those before.
    fn take(&self, entries: &[ListEntry]);
}

/// An entry of a list that lives in a storage.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "storages make it, field by field")]
pub struct ListEntry {
    /// Which list it is in.
    pub list: Listed,
    /// The address, network or key.
    pub entry: String,
    /// How long it is in force yet; none for good.
    pub left: Option<Duration>,
}
