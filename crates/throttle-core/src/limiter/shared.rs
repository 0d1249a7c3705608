//! The lists that servers share.

use std::{fmt, sync::Arc, time::Duration};

use super::{error::Error, handle::Limiter, inner::Inner, lists::check_entry};
use crate::{
    decision::Listed,
    storage::{ListEntry, ListFollower, ListStorage},
};

/// Holds entries of the allow and the deny list for all servers that use the limiter's storage.
///
/// A change holds here at once, and on every other server that called [`Limiter::shared_lists`] within a
/// second. The entries are the same as those of [`AllowList`](super::AllowList) and
/// [`DenyList`](super::DenyList), which stay lists of this limiter alone. A request reads only what is
/// in this process's memory.
///
/// ```
/// # use std::time::Duration;
/// # use throttle_core::{Error, Limiter};
/// # async fn example(limiter: Limiter) -> Result<(), Error> {
/// let lists = limiter.shared_lists().await?;
/// lists.deny_for("203.0.113.9", Duration::from_secs(3600)).await?;
/// lists.allow("10.0.0.0/8").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SharedLists {
    inner: Arc<Inner>,
    storage: Arc<dyn ListStorage>,
}

impl Limiter {
    /// Begins to go by the lists that live in the storage, and returns them.
    ///
    /// Call it on every server, when it starts: it is what makes a server go by the shared lists.
    ///
    /// # Errors
    ///
    /// [`Error::NoSharedLists`] when the storage cannot keep lists, [`Error::Storage`] when they cannot be
    /// read now; the server goes by them all the same as soon as they can.
    pub async fn shared_lists(&self) -> Result<SharedLists, Error> {
        let storage = self.inner.storage.lists().ok_or(Error::NoSharedLists)?;
        let inner = Arc::clone(&self.inner);
        if !inner.follows.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let follower: Arc<dyn ListFollower> = inner.clone();
            storage.follow(Arc::downgrade(&follower));
        }
        let lists = SharedLists { inner, storage };
        lists.refresh().await?;
        Ok(lists)
    }
}

impl SharedLists {
    /// Lets an address, network or key always pass, on all servers, until it is removed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidEntry`] for what is no entry, [`Error::Storage`] when it may not have been added.
    pub async fn allow(&self, entry: &str) -> Result<(), Error> {
        self.add(Listed::Allowed, entry, None).await
    }

    /// Refuses an address, network or key on all servers, until it is removed.
    ///
    /// # Errors
    ///
    /// As for [`SharedLists::allow`].
    pub async fn deny(&self, entry: &str) -> Result<(), Error> {
        self.add(Listed::Denied, entry, None).await
    }

    /// Refuses an address, network or key on all servers for a time, by the storage's clock; an entry
    /// that is there gets the new end.
    ///
    /// # Errors
    ///
    /// As for [`SharedLists::allow`].
    pub async fn deny_for(&self, entry: &str, span: Duration) -> Result<(), Error> {
        self.add(Listed::Denied, entry, Some(span)).await
    }

    /// Removes an entry of the allow list, and returns whether it was there.
    ///
    /// # Errors
    ///
    /// As for [`SharedLists::allow`].
    pub async fn remove_allowed(&self, entry: &str) -> Result<bool, Error> {
        self.remove(Listed::Allowed, entry).await
    }

    /// Removes an entry of the deny list, and returns whether it was there.
    ///
    /// # Errors
    ///
    /// As for [`SharedLists::allow`].
    pub async fn remove_denied(&self, entry: &str) -> Result<bool, Error> {
        self.remove(Listed::Denied, entry).await
    }

    /// Returns the entries that are in force.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when the storage cannot say.
    pub async fn entries(&self) -> Result<Vec<ListEntry>, Error> {
        Ok(self.storage.load().await?)
    }

    /// Reads the lists now, rather than within a second.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when the storage cannot say.
    pub async fn refresh(&self) -> Result<(), Error> {
        self.inner.take(&self.storage.load().await?);
        Ok(())
    }

    async fn add(&self, list: Listed, entry: &str, span: Option<Duration>) -> Result<(), Error> {
        check_entry(entry)?;
        self.storage.add(list, entry, span).await?;
        self.refresh().await
    }

    async fn remove(&self, list: Listed, entry: &str) -> Result<bool, Error> {
        check_entry(entry)?;
        let removed = self.storage.remove(list, entry).await?;
        self.refresh().await?;
        Ok(removed)
    }
}

impl ListFollower for Inner {
    fn take(&self, entries: &[ListEntry]) {
        let of = |list| entries.iter().filter(move |entry| entry.list == list);
        self.allow_list.replace_shared(of(Listed::Allowed));
        self.deny_list.replace_shared(of(Listed::Denied));
    }
}

impl fmt::Debug for SharedLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLists").finish_non_exhaustive()
    }
}
