//! What all parts of a fallback share: its storage, its modes, and what it counts.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{AtomicStorage, StorageError};

use super::{
    debts::Debts,
    modes::{FailureModes, FallbackChange, FallbackStats},
};
use crate::instances::Instances;

/// How long no call may have failed before the storage counts as back.
const CALM: Duration = Duration::from_secs(1);

pub(super) struct Inner {
    pub(super) storage: Arc<dyn AtomicStorage>,
    pub(super) modes: FailureModes,
    pub(super) servers: Instances,
    pub(super) debts: Debts,
    pub(super) degraded: AtomicBool,
    pub(super) repaying: AtomicBool,
    /// When a call failed last, in microseconds after `start`.
    failed_at: AtomicU64,
    start: Instant,
    pub(super) counts: Counts,
    told_of_key: AtomicBool,
}

#[derive(Default)]
pub(super) struct Counts {
    outages: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) local: AtomicU64,
    of_key: AtomicU64,
}

impl Inner {
    pub(super) fn new(storage: Arc<dyn AtomicStorage>, modes: FailureModes) -> Self {
        let servers =
            modes.local.as_ref().map_or(Instances::fixed(1), |local| local.servers.clone());
        Self {
            storage,
            debts: Debts::new(modes.max_deferred),
            modes,
            servers,
            degraded: AtomicBool::new(false),
            repaying: AtomicBool::new(false),
            failed_at: AtomicU64::new(0),
            start: Instant::now(),
            counts: Counts::default(),
            told_of_key: AtomicBool::new(false),
        }
    }

    pub(super) fn stats(&self) -> FallbackStats {
        FallbackStats {
            degraded: self.degraded.load(Relaxed),
            servers: self.servers().get(),
            outages: self.counts.outages.load(Relaxed),
            closed: self.counts.closed.load(Relaxed),
            open: self.counts.open.load(Relaxed),
            local: self.counts.local.load(Relaxed),
            of_key: self.counts.of_key.load(Relaxed),
            debts: self.debts.len(),
            repaid: self.debts.repaid.load(Relaxed),
            forgiven: self.debts.forgiven.load(Relaxed),
        }
    }

    pub(super) fn servers(&self) -> NonZeroU64 {
        self.servers.count()
    }

    pub(super) fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Takes note of a call that failed: the first one is told of, the others are counted.
    pub(super) fn failed(&self, error: &StorageError) {
        if error.is_of_key() {
            self.count(&self.counts.of_key);
            if !self.told_of_key.swap(true, Relaxed) {
                tracing::error!(%error, "the storage answers for other keys, but not for this one");
            }
            return;
        }
        self.failed_at.fetch_max(self.elapsed(), Relaxed);
        if self.degraded.load(Relaxed) || self.degraded.swap(true, Relaxed) {
            return;
        }
        self.count(&self.counts.outages);
        tracing::warn!(%error, modes = ?self.modes, "the storage fails: its rules go by their modes");
        self.modes.observers.tell(&FallbackChange::Degraded { error: error.to_string() });
    }

    pub(super) fn is_calm(&self) -> bool {
        let calm = u64::try_from(CALM.as_micros()).unwrap_or(u64::MAX);
        self.elapsed().saturating_sub(self.failed_at.load(Relaxed)) >= calm
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
