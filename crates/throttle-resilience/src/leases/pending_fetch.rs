//! Where requests wait for a batch that is on its way.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, Ordering::Relaxed},
};

use throttle_core::StorageError;
use tokio::sync::Semaphore;

/// Is closed until a batch has come, or has not.
#[derive(Debug)]
pub(super) struct Gate {
    shut: Semaphore,
    failed: OnceLock<Failure>,
    voided: AtomicU8,
}

/// What a call failed with, for all that waited for it.
#[derive(Debug)]
struct Failure {
    text: String,
    of_key: bool,
}

/// Says what becomes of a batch that comes after its lease has ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Voided {
    /// It is given back.
    GiveBack,
    /// It is forgotten: the storage has forgotten it, or may have.
    Forget,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { shut: Semaphore::new(0), failed: OnceLock::new(), voided: AtomicU8::new(0) }
    }

    /// Lets all go on that wait, now and later.
    pub(super) fn open(&self) {
        self.shut.close();
    }

    /// Waits until it is open.
    pub(super) async fn wait(&self) {
        let _closed = self.shut.acquire().await; // there is never a permit, only the end
    }

    pub(super) fn fail(&self, error: &StorageError) {
        let failure = Failure { text: error.to_string(), of_key: error.is_of_key() };
        let _first = self.failed.set(failure);
    }

    /// Returns the error of a request that waited in vain: nothing was charged for it.
    pub(super) fn failure(&self) -> Option<StorageError> {
        let Failure { text, of_key } = self.failed.get()?;
        Some(match of_key {
            true => StorageError::of_key(text.clone()),
            false => StorageError::not_carried_out(text.clone()),
        })
    }

    /// Says what becomes of the batch; forgetting is not taken back.
    pub(super) fn void(&self, voided: Voided) {
        self.voided.fetch_max(if voided == Voided::Forget { 2 } else { 1 }, Relaxed);
    }

    pub(super) fn voided(&self) -> Voided {
        if self.voided.load(Relaxed) == 2 { Voided::Forget } else { Voided::GiveBack }
    }
}
