//! The state that all parts of a fallback share.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{AtomicStorage, StorageError, pending_work::PendingWork};

use super::{
    deferred::DeferredCharges,
    modes::{FailureModes, FallbackChange, FallbackStats},
};
use crate::instances::Instances;

/// The time without a failed call after which the storage counts as recovered.
const CALM: Duration = Duration::from_secs(1);

pub(super) struct Inner {
    pub(super) storage: Arc<dyn AtomicStorage>,
    pub(super) modes: FailureModes,
    pub(super) instances: Instances,
    pub(super) deferred: DeferredCharges,
    pub(super) degraded: AtomicBool,
    pub(super) replaying: AtomicBool,
    /// The replays in the background.
    pub(super) pending: PendingWork,
    /// The time of the last failure, in microseconds after `start`.
    failed_at: AtomicU64,
    start: Instant,
    pub(super) counts: Counts,
    logged_key_error: AtomicBool,
}

#[derive(Default)]
pub(super) struct Counts {
    outages: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) local: AtomicU64,
    key_errors: AtomicU64,
}

impl Inner {
    pub(super) fn new(storage: Arc<dyn AtomicStorage>, modes: FailureModes) -> Self {
        let instances =
            modes.local.as_ref().map_or(Instances::fixed(1), |local| local.instances.clone());
        Self {
            storage,
            deferred: DeferredCharges::new(modes.max_deferred),
            modes,
            instances,
            degraded: AtomicBool::new(false),
            replaying: AtomicBool::new(false),
            pending: PendingWork::default(),
            failed_at: AtomicU64::new(0),
            start: Instant::now(),
            counts: Counts::default(),
            logged_key_error: AtomicBool::new(false),
        }
    }

    pub(super) fn stats(&self) -> FallbackStats {
        FallbackStats {
            degraded: self.degraded.load(Relaxed),
            instances: self.instances().get(),
            outages: self.counts.outages.load(Relaxed),
            closed: self.counts.closed.load(Relaxed),
            open: self.counts.open.load(Relaxed),
            local: self.counts.local.load(Relaxed),
            key_errors: self.counts.key_errors.load(Relaxed),
            deferred: self.deferred.len(),
            replayed: self.deferred.replayed.load(Relaxed),
            dropped: self.deferred.dropped.load(Relaxed),
        }
    }

    pub(super) fn instances(&self) -> NonZeroU64 {
        self.instances.count()
    }

    pub(super) fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Records a failed call. Only the first failure of an outage is logged and reported.
    pub(super) fn failed(&self, error: &StorageError) {
        if error.is_of_key() {
            self.count(&self.counts.key_errors);
            if !self.logged_key_error.swap(true, Relaxed) {
                tracing::error!(
                    target: "ratethrottle::resilience",
                    %error, "the value stored under a key prevents decisions for it"
                );
            }
            return;
        }
        self.failed_at.fetch_max(self.elapsed(), Relaxed);
        if self.degraded.load(Relaxed) || self.degraded.swap(true, Relaxed) {
            return;
        }
        self.count(&self.counts.outages);
        tracing::warn!(
            target: "ratethrottle::resilience",
            %error, modes = ?self.modes, "the storage fails; failure modes apply"
        );
        self.modes.observers.notify(&FallbackChange::Degraded { error: error.to_string() });
    }

    pub(super) fn is_calm(&self) -> bool {
        let calm = u64::try_from(CALM.as_micros()).unwrap_or(u64::MAX);
        self.elapsed().saturating_sub(self.failed_at.load(Relaxed)) >= calm
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
