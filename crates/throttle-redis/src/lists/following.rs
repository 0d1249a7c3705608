//! The subscription that keeps a subscriber's copy of the shared lists up to date.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
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

/// The interval of polls for changes.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The longest interval while Redis does not answer.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(10);
/// The interval of reads of all entries, plus up to half of it as jitter. They find changes that another program
/// made without using the script.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(600);

/// The subscription of one subscriber.
pub(super) struct Following {
    this: Weak<Self>,
    client: Arc<Client>,
    follower: Weak<dyn ListSubscriber>,
    /// The last change that was read. A reader holds the lock, so the subscriber gets changes in order.
    position: tokio::sync::Mutex<Position>,
    /// The task that polls for changes.
    task: OnceLock<Task>,
}

#[derive(Default)]
struct Position {
    /// The ID of the last change that the subscriber has; `None` before all entries were read.
    version: Option<String>,
    is_failing: bool,
    takes: Takes,
}

/// Passes all entries to the subscriber, one read at a time. If a reader is aborted, the thread that passes its entries
/// still finishes.
#[derive(Default)]
struct Takes {
    /// The number of reads that were started.
    begun: u64,
    /// The latest version that the subscriber received; locked while the subscriber processes one.
    latest: Arc<Mutex<u64>>,
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
                tracing::warn!(
                    target: "ratethrottle::redis",
                    %error, "the shared lists cannot be read; the last known entries stay in force"
                );
            }
            Ok(()) if position.is_failing => {
                tracing::info!(target: "ratethrottle::redis", "the shared lists can be read again");
            }
            _ => {}
        }
        position.is_failing = read.is_err();
        read
    }

    /// Passes new changes to the subscriber, or all entries if the changes are no longer available.
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
        position.version = Some(position.takes.take(follower, load(&self.client).await?).await?);
        Ok(())
    }

    /// Reads all entries. Polling for changes continues in the meantime.
    async fn read_all(&self) -> Result<(), StorageError> {
        let mut copy = load(&self.client).await?;
        let mut position = self.position.lock().await;
        let Some(follower) = self.follower.upgrade() else { return Ok(()) };
        // The subscriber may have got newer changes since the read began.
        if apply_changes(&self.client, &mut copy).await? {
            position.version = None;
            position.version = Some(position.takes.take(&follower, copy).await?);
        }
        Ok(())
    }
}

impl Takes {
    /// Passes all entries, unless newer ones were passed, and returns their version.
    async fn take(
        &mut self,
        follower: &Arc<dyn ListSubscriber>,
        mut copy: Copy,
    ) -> Result<String, StorageError> {
        let version = std::mem::take(&mut copy.version);
        self.begun += 1;
        let (number, latest) = (self.begun, Arc::clone(&self.latest));
        let follower = Arc::clone(follower);
        // It may be long work, and no decision should wait for it.
        let taken = spawn_blocking(move || {
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            if *latest < number {
                *latest = number;
                follower.take(copy.into_entries());
            }
        });
        taken.await.map_err(StorageError::not_carried_out)?;
        Ok(version)
    }
}

#[async_trait]
impl ListSubscription for Following {
    async fn catch_up(&self) -> Result<(), StorageError> {
        self.client.topology.background.ready().map_err(Failure::from)?;
        let Some(following) = self.this.upgrade() else { return Ok(()) };
        // A separate task, so that the read completes even if the caller stops waiting.
        let read = tokio::spawn(async move { following.read().await });
        read.await.map_err(StorageError::not_carried_out)?
    }
}

async fn keep_reading(following: Weak<Following>) {
    let mut backoff = Backoff::new(POLL_INTERVAL, MAX_POLL_INTERVAL);
    let until_all = || Instant::now() + FULL_READ_INTERVAL.mul_f64(1.0 + fastrand::f64() / 2.0);
    let mut all_at = until_all();
    loop {
        let Some(following) = following.upgrade() else { return };
        if all_at <= Instant::now() {
            all_at = until_all();
            let following = Arc::clone(&following);
            // Its errors can be ignored: if Redis fails, the poll below reports it.
            tokio::spawn(async move { following.read_all().await });
        }
        let wait = match following.read().await {
            Ok(()) => {
                backoff.reset();
                POLL_INTERVAL
            }
            Err(_) => backoff.next(),
        };
        drop(following);
        sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use throttle_core::{Entry, ListMatch};
    use tokio::time::timeout;

    use super::*;

    /// A subscriber that takes the first entries only when the test allows it.
    struct Slow {
        began: Sender<()>,
        may_take: Mutex<Option<Receiver<()>>>,
        taken: Mutex<Vec<usize>>,
    }

    impl ListSubscriber for Slow {
        fn take(&self, entries: Vec<ListEntry>) {
            let may_take = self.may_take.lock().unwrap().take();
            if let Some(may_take) = may_take {
                self.began.send(()).unwrap();
                may_take.recv().unwrap();
            }
            self.taken.lock().unwrap().push(entries.len());
        }

        fn apply(&self, _: Vec<ListEntry>) {}

        fn report(&self, _: Result<(), &StorageError>) {}
    }

    fn copy(entries: usize) -> Copy {
        let mut copy = Copy::default();
        for n in 0..entries {
            let entry = Entry::key(n.to_string());
            copy.apply(Change { list: ListMatch::Denied, entry, end: None }).unwrap();
        }
        copy
    }

    #[tokio::test]
    async fn the_entries_of_a_reader_that_was_aborted_do_not_replace_later_ones() {
        let ((began, has_begun), (allow, may_take)) = (channel(), channel());
        let may_take = Mutex::new(Some(may_take));
        let slow = Arc::new(Slow { began, may_take, taken: Mutex::default() });
        let follower: Arc<dyn ListSubscriber> = slow.clone();
        let mut takes = Takes::default();
        let aborted = timeout(Duration::ZERO, takes.take(&follower, copy(1)));
        aborted.await.unwrap_err();
        has_begun.recv().unwrap();
        {
            let mut later = Box::pin(takes.take(&follower, copy(2)));
            let waits = timeout(Duration::from_millis(50), &mut later).await;
            allow.send(()).unwrap();
            if waits.is_err() {
                later.await.unwrap();
            }
        }
        while slow.taken.lock().unwrap().len() < 2 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*slow.taken.lock().unwrap(), [1, 2]);
    }
}
