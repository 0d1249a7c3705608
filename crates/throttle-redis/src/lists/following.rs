//! Keeps the copy of a follower up.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use throttle_core::{ListEntry, ListSubscriber, ListSubscription, StorageError, async_trait};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    copy::{Change, Copy, left},
    reading::{apply_changes, changes, load},
};
use crate::{background::Task, client::Client, error::Failure, retry::Backoff};

/// Redis is asked for changes this often.
const EVERY: Duration = Duration::from_millis(500);
/// And at most this seldom while it does not answer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// All entries are read this often, and up to half as much later, also if no change is missed: somebody may
/// have changed them without the script.
const ALL_EVERY: Duration = Duration::from_secs(600);

/// The reading of the lists for one follower.
pub(super) struct Following {
    this: Weak<Self>,
    client: Arc<Client>,
    follower: Weak<dyn ListSubscriber>,
    /// What was read last. Whoever holds it reads, so that the follower gets changes in their order.
    position: tokio::sync::Mutex<Position>,
    /// Asks for changes until this is dropped.
    task: OnceLock<Task>,
}

#[derive(Default)]
struct Position {
    /// The change that the follower knows; none before all entries were read.
    version: Option<String>,
    is_failing: bool,
}

impl Following {
    pub(super) fn start(client: &Arc<Client>, follower: Weak<dyn ListSubscriber>) -> Arc<Self> {
        let following = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            client: Arc::clone(client),
            follower,
            position: Default::default(),
            task: OnceLock::new(),
        });
        let this = Arc::downgrade(&following);
        let task = client.topology.background.spawn(move || keep_reading(Weak::clone(&this)));
        let _first = following.task.set(task);
        following
    }

    async fn read(&self) -> Result<(), StorageError> {
        let mut position = self.position.lock().await;
        let Some(follower) = self.follower.upgrade() else { return Ok(()) };
        let read = self.read_on(&follower, &mut position).await;
        follower.report(read.as_ref().copied());
        match &read {
            Err(error) if !position.is_failing => {
                tracing::warn!(%error, "the shared lists cannot be read; the entries that are known stay in force");
            }
            Ok(()) if position.is_failing => tracing::info!("the shared lists are read again"),
            _ => {}
        }
        position.is_failing = read.is_err();
        read
    }

    /// Passes on what changed since, or all entries.
    async fn read_on(
        &self,
        follower: &Arc<dyn ListSubscriber>,
        position: &mut Position,
    ) -> Result<(), StorageError> {
        while let Some(version) = &position.version {
            let Some(read) = changes(&self.client, version).await? else { break };
            let entry = |change: Change| ListEntry {
                list: change.list,
                entry: change.entry,
                left: left(change.end, read.now),
            };
            follower.apply(read.changes.into_iter().map(entry).collect());
            position.version = Some(read.version);
            if !read.is_full {
                return Ok(());
            }
        }
        position.version = None;
        position.version = Some(take(follower, load(&self.client).await?).await?);
        Ok(())
    }

    /// Reads all entries while changes go on to be passed.
    async fn read_anew(&self) -> Result<(), StorageError> {
        let mut copy = load(&self.client).await?;
        let mut position = self.position.lock().await;
        let Some(follower) = self.follower.upgrade() else { return Ok(()) };
        // So that it is not older than what the follower has.
        if apply_changes(&self.client, &mut copy).await? {
            position.version = None;
            position.version = Some(take(&follower, copy).await?);
        }
        Ok(())
    }
}

/// Passes all entries, and returns the version that they are of.
async fn take(follower: &Arc<dyn ListSubscriber>, mut copy: Copy) -> Result<String, StorageError> {
    let version = std::mem::take(&mut copy.version);
    let follower = Arc::clone(follower);
    // It may be long work, and no decision should wait for it.
    let taken = spawn_blocking(move || follower.take(copy.into_entries()));
    taken.await.map_err(StorageError::not_carried_out)?;
    Ok(version)
}

#[async_trait]
impl ListSubscription for Following {
    async fn catch_up(&self) -> Result<(), StorageError> {
        self.client.topology.background.ready().map_err(Failure::from)?;
        let Some(following) = self.this.upgrade() else { return Ok(()) };
        // In a task of its own: it goes on if nobody waits for it any more.
        let read = tokio::spawn(async move { following.read().await });
        read.await.map_err(StorageError::not_carried_out)?
    }
}

async fn keep_reading(following: Weak<Following>) {
    let mut backoff = Backoff::new(EVERY, LONGEST_WAIT);
    let until_all = || Instant::now() + ALL_EVERY.mul_f64(1.0 + fastrand::f64() / 2.0);
    let mut all_at = until_all();
    loop {
        let Some(following) = following.upgrade() else { return };
        if all_at <= Instant::now() {
            all_at = until_all();
            let following = Arc::clone(&following);
            tokio::spawn(async move { following.read_anew().await }); // where it fails, changes do
        }
        let wait = match following.read().await {
            Ok(()) => {
                backoff.reset();
                EVERY
            }
            Err(_) => backoff.next(),
        };
        drop(following);
        sleep(wait).await;
    }
}
