//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::Inner;

/// Counts what was taken in batches, spent and given back.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct LeaseFigures {
    /// Keys that are leased now.
    pub keys: u64,
    /// Permits that are held now.
    pub held: u64,
    /// Calls that asked the storage for a batch.
    pub fetched: u64,
    /// Permits that were taken by them.
    pub taken: u64,
    /// Permits that were spent here.
    pub spent: u64,
    /// Permits that were given back.
    pub given_back: u64,
    /// Permits that came to nothing: their window ended, or a call failed that took them or gave them
    /// back.
    pub expired: u64,
    /// Requests that were admitted without asking the storage.
    pub answered: u64,
    /// Requests that were refused without asking it, because it had nothing left a moment before.
    pub refused: u64,
    /// Requests that waited for a batch.
    pub waited: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) fetched: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) given_back: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) waited: AtomicU64,
}

impl Inner {
    pub(super) fn count(&self, counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Relaxed);
    }

    pub(super) fn figures(&self) -> LeaseFigures {
        let counts = &self.counts;
        let mut figures = LeaseFigures {
            fetched: counts.fetched.load(Relaxed),
            taken: counts.taken.load(Relaxed),
            given_back: counts.given_back.load(Relaxed),
            expired: counts.expired.load(Relaxed),
            waited: counts.waited.load(Relaxed),
            ..LeaseFigures::default()
        };
        self.table.each(|shard| {
            figures.keys += shard.len() as u64;
            figures.held += shard.held();
            figures.spent += shard.spent;
            figures.answered += shard.answered;
            figures.refused += shard.refused;
        });
        figures
    }
}
