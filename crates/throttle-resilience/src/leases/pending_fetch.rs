//! A fetch in flight, which requests wait for.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use throttle_core::StorageError;
use tokio::sync::Semaphore;

/// A fetch in flight. It completes when the storage has granted or denied the batch, or the call
/// has failed.
#[derive(Debug)]
pub(super) struct PendingFetch {
    completed: Semaphore,
    failed: OnceLock<Failure>,
    invalidation: AtomicU8,
}

/// The error of the call, for all requests that waited for it.
#[derive(Debug)]
struct Failure {
    text: String,
    of_key: bool,
}

/// The use of a batch that is granted after its lease has ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Invalidation {
    /// It is returned.
    Return,
    /// It is discarded: the storage has removed its charge, or may have.
    Discard,
}

impl PendingFetch {
    pub(super) fn new() -> Self {
        Self {
            completed: Semaphore::new(0),
            failed: OnceLock::new(),
            invalidation: AtomicU8::new(0),
        }
    }

    /// Wakes all waiting requests, and those that wait later.
    pub(super) fn complete(&self) {
        self.completed.close();
    }

    /// Waits until the fetch has completed.
    pub(super) async fn wait(&self) {
        // The semaphore never has a permit: this returns when it is closed.
        let _closed = self.completed.acquire().await;
    }

    pub(super) fn fail(&self, error: &StorageError) {
        let failure = Failure { text: error.to_string(), of_key: error.is_of_key() };
        let _first = self.failed.set(failure);
    }

    /// Returns the error for a request that waited, if the fetch failed. Nothing was charged for that request.
    pub(super) fn failure(&self) -> Option<StorageError> {
        let Failure { text, of_key } = self.failed.get()?;
        Some(match of_key {
            true => StorageError::of_key(text.clone()),
            false => StorageError::not_carried_out(text.clone()),
        })
    }

    /// Sets the use of a late batch. `Discard` overrides `Return`, never the reverse.
    pub(super) fn invalidate(&self, invalidation: Invalidation) {
        self.invalidation
            .fetch_max(if invalidation == Invalidation::Discard { 2 } else { 1 }, Relaxed);
    }

    pub(super) fn invalidation(&self) -> Invalidation {
        if self.invalidation.load(Relaxed) == 2 {
            Invalidation::Discard
        } else {
            Invalidation::Return
        }
    }
}
