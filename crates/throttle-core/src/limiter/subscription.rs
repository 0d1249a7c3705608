//! The subscription to shared lists.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use super::metrics::SharedListsMetrics;
use crate::storage::ListSubscription;

/// The subscription of a limiter to the lists of its storage, if it has one, and its metrics.
#[derive(Default)]
pub(super) struct Subscription {
    pub(super) link: OnceLock<Arc<dyn ListSubscription>>,
    errors: AtomicU64,
    read_at: Mutex<Option<Instant>>,
}

impl Subscription {
    pub(super) fn report(&self, is_read: bool) {
        if is_read {
            let mut read_at = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
            *read_at = Some(Instant::now());
        } else {
            self.errors.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn metrics(&self) -> Option<SharedListsMetrics> {
        self.link.get()?;
        let read_at = *self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        let age = read_at.map(|at| at.elapsed());
        Some(SharedListsMetrics { age, errors: self.errors.load(Relaxed) })
    }
}
