//! Shared lists, which all servers with the same storage use.

use std::{fmt, sync::Arc, time::Duration};

use super::{error::Error, handle::Limiter, inner::Inner};
use crate::{
    decision::ListMatch,
    entry::{Entry, InvalidEntry},
    storage::{ListEntry, ListStorage, ListSubscriber, StorageError},
};

/// The allow list and the deny list of all servers that use the limiter's storage.
///
/// A change takes effect here at once, and within a second on every other server that has called
/// [`Limiter::shared_lists`]. The entries are the same as those of [`AllowList`](super::AllowList) and
/// [`DenyList`](super::DenyList), which apply to this limiter alone. Checks use a copy in memory, and never read the
/// lists from the storage.
///
/// ```
/// # use std::time::Duration;
/// # use throttle_core::{Error, Limiter, Violation};
/// # async fn example(limiter: Limiter, violation: Violation) -> Result<(), Error> {
/// let lists = limiter.shared_lists().await?;
/// lists.allow("10.0.0.0/8").await?;
/// lists.deny_for("203.0.113.9", Duration::from_secs(3600)).await?;
/// lists.deny_for(&violation.key, Duration::from_secs(600)).await?; // the key, not its text
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SharedLists {
    inner: Arc<Inner>,
    storage: Arc<dyn ListStorage>,
}

impl Limiter {
    /// Subscribes to the lists in the storage, and returns them when all entries are read.
    ///
    /// Call it on every server at startup: a server that does not call it ignores the shared lists.
    ///
    /// If the lists cannot be read later, the entries that were read stay in force, a warning is logged, and
    /// [`Metrics::shared_lists`](super::Metrics::shared_lists) shows their age.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoSharedLists`] if the storage does not support shared lists, and [`Error::Storage`] if they
    /// cannot be read now; the subscription still exists, and reads them as soon as possible.
    pub async fn shared_lists(&self) -> Result<SharedLists, Error> {
        let storage = self.inner.storage.lists().ok_or(Error::NoSharedLists)?;
        let lists = SharedLists { inner: Arc::clone(&self.inner), storage };
        lists.refresh().await?;
        Ok(lists)
    }
}

impl SharedLists {
    /// Adds an entry to the allow list of all servers, until it is removed.
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidEntry`] for an invalid entry, and [`Error::Storage`] if it may not have been added.
    pub async fn allow<E>(&self, entry: E) -> Result<(), Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.add(ListMatch::Allowed, read(entry)?, None).await
    }

    /// Adds an entry to the deny list of all servers, until it is removed.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedLists::allow`].
    pub async fn deny<E>(&self, entry: E) -> Result<(), Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.add(ListMatch::Denied, read(entry)?, None).await
    }

    /// Adds an entry to the deny list of all servers for `span` of the storage's clock; an existing entry gets the new
    /// end.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedLists::allow`].
    pub async fn deny_for<E>(&self, entry: E, span: Duration) -> Result<(), Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.add(ListMatch::Denied, read(entry)?, Some(span)).await
    }

    /// Removes an entry from the allow list, and returns whether it existed.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedLists::allow`].
    pub async fn remove_allowed<E>(&self, entry: E) -> Result<bool, Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.remove(ListMatch::Allowed, read(entry)?).await
    }

    /// Removes an entry from the deny list, and returns whether it existed.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedLists::allow`].
    pub async fn remove_denied<E>(&self, entry: E) -> Result<bool, Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.remove(ListMatch::Denied, read(entry)?).await
    }

    /// Reads the entries in force from the storage.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Storage`] if the storage cannot be read.
    pub async fn entries(&self) -> Result<Vec<ListEntry>, Error> {
        Ok(self.storage.load().await?)
    }

    /// Reads changes now, instead of within a second.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Storage`] if the storage cannot be read.
    pub async fn refresh(&self) -> Result<(), Error> {
        let subscription = self.inner.subscription.link.get_or_init(|| {
            let subscriber: Arc<dyn ListSubscriber> = self.inner.clone();
            self.storage.subscribe(Arc::downgrade(&subscriber))
        });
        Ok(subscription.catch_up().await?)
    }

    async fn add(
        &self,
        list: ListMatch,
        entry: Entry,
        span: Option<Duration>,
    ) -> Result<(), Error> {
        self.storage.add(list, &entry, span).await?;
        self.refresh().await
    }

    async fn remove(&self, list: ListMatch, entry: Entry) -> Result<bool, Error> {
        let removed = self.storage.remove(list, &entry).await?;
        self.refresh().await?;
        Ok(removed)
    }
}

fn read<E>(entry: E) -> Result<Entry, InvalidEntry>
where
    E: TryInto<Entry, Error: Into<InvalidEntry>>,
{
    entry.try_into().map_err(Into::into)
}

impl ListSubscriber for Inner {
    fn take(&self, entries: Vec<ListEntry>) {
        let (allowed, denied) = by_list(entries);
        self.allow_list.replace_shared(allowed);
        self.deny_list.replace_shared(denied);
    }

    fn apply(&self, changes: Vec<ListEntry>) {
        let (allowed, denied) = by_list(changes);
        self.allow_list.change_shared(allowed);
        self.deny_list.change_shared(denied);
    }

    fn report(&self, read: Result<(), &StorageError>) {
        self.subscription.report(read.is_ok());
    }
}

fn by_list(entries: Vec<ListEntry>) -> (Vec<ListEntry>, Vec<ListEntry>) {
    entries.into_iter().partition(|entry| entry.list == ListMatch::Allowed)
}

impl fmt::Debug for SharedLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLists").finish_non_exhaustive()
    }
}
