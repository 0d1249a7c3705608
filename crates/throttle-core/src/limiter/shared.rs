//! The lists that servers share.

use std::{fmt, sync::Arc, time::Duration};

use super::{error::Error, handle::Limiter, inner::Inner};
use crate::{
    decision::ListMatch,
    entry::{Entry, InvalidEntry},
    storage::{ListEntry, ListStorage, ListSubscriber, StorageError},
};

/// The allow and the deny list of all servers that use the limiter's storage.
///
/// A change holds here at once, and on every other server that called [`Limiter::shared_lists`] within a
/// second. The entries are the same as those of [`AllowList`](super::AllowList) and
/// [`DenyList`](super::DenyList), which stay lists of this limiter alone. A request reads only what is
/// in this process's memory.
///
/// ```
/// # use std::time::Duration;
/// # use throttle_core::{Error, Limiter, Violation};
/// # async fn example(limiter: Limiter, violation: Violation) -> Result<(), Error> {
/// let lists = limiter.shared_lists().await?;
/// lists.allow("10.0.0.0/8").await?;
/// lists.deny_for("203.0.113.9", Duration::from_secs(3600)).await?;
/// lists.deny_for(&violation.key, Duration::from_secs(600)).await?; // the key that it is, not its text
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SharedLists {
    inner: Arc<Inner>,
    storage: Arc<dyn ListStorage>,
}

impl Limiter {
    /// Subscribes to the lists that live in the storage, and returns them.
    ///
    /// Call it on every server, when it starts: servers that do not call it ignore the shared lists. It
    /// returns when all entries are read.
    ///
    /// While the lists cannot be read later on, the entries that were read stay in force, the log has a
    /// warning, and [`Metrics::shared_lists`](super::Metrics::shared_lists) shows their age.
    ///
    /// # Errors
    ///
    /// [`Error::NoSharedLists`] when the storage cannot keep lists, [`Error::Storage`] when they cannot be
    /// read now; the server reads them all the same as soon as it can.
    pub async fn shared_lists(&self) -> Result<SharedLists, Error> {
        let storage = self.inner.storage.lists().ok_or(Error::NoSharedLists)?;
        let lists = SharedLists { inner: Arc::clone(&self.inner), storage };
        lists.refresh().await?;
        Ok(lists)
    }
}

impl SharedLists {
    /// Adds an entry of the allow list on all servers, until it is removed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidEntry`] for what is no entry, [`Error::Storage`] when it may not have been added.
    pub async fn allow<E>(&self, entry: E) -> Result<(), Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.add(ListMatch::Allowed, read(entry)?, None).await
    }

    /// Adds an entry of the deny list on all servers, until it is removed.
    ///
    /// # Errors
    ///
    /// As for [`SharedLists::allow`].
    pub async fn deny<E>(&self, entry: E) -> Result<(), Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.add(ListMatch::Denied, read(entry)?, None).await
    }

    /// Adds an entry of the deny list on all servers for `span`, by the storage's clock; an entry that is
    /// there gets the new end.
    ///
    /// # Errors
    ///
    /// As for [`SharedLists::allow`].
    pub async fn deny_for<E>(&self, entry: E, span: Duration) -> Result<(), Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.add(ListMatch::Denied, read(entry)?, Some(span)).await
    }

    /// Removes an entry of the allow list, and returns whether it was there.
    ///
    /// # Errors
    ///
    /// As for [`SharedLists::allow`].
    pub async fn remove_allowed<E>(&self, entry: E) -> Result<bool, Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.remove(ListMatch::Allowed, read(entry)?).await
    }

    /// Removes an entry of the deny list, and returns whether it was there.
    ///
    /// # Errors
    ///
    /// As for [`SharedLists::allow`].
    pub async fn remove_denied<E>(&self, entry: E) -> Result<bool, Error>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.remove(ListMatch::Denied, read(entry)?).await
    }

    /// Returns the entries that are in force, as the storage has them.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when the storage cannot be read.
    pub async fn entries(&self) -> Result<Vec<ListEntry>, Error> {
        Ok(self.storage.load().await?)
    }

    /// Reads what changed now, rather than within a second.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when the storage cannot be read.
    pub async fn refresh(&self) -> Result<(), Error> {
        let subscription = self.inner.subscription.link.get_or_init(|| {
            let follower: Arc<dyn ListSubscriber> = self.inner.clone();
            self.storage.subscribe(Arc::downgrade(&follower))
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
