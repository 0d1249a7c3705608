//! The permits that this process holds.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::sharded::shrunk;

use crate::background::Task;

/// The capacity up to which the map does not shrink.
const SMALL: usize = 1024;

/// The permits that this process holds, and the task that renews them.
pub(super) struct HeldPermits {
    lease: Duration,
    /// A random ID, which makes the permit IDs of this process unique.
    process: u64,
    next: AtomicU64,
    permits: Mutex<HashMap<Arc<str>, HeldPermit>>,
    renewal: OnceLock<Task>,
}

struct HeldPermit {
    key: Arc<str>,
    /// The start of the current lease.
    since: Instant,
}

impl HeldPermits {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            process: fastrand::u64(..),
            next: AtomicU64::new(0),
            permits: Mutex::default(),
            renewal: OnceLock::new(),
        }
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    pub(super) fn lease_millis(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX) // at most an hour
    }

    pub(super) fn next_id(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Relaxed);
        format!("{:016x}-{number:x}", self.process).into()
    }

    pub(super) fn add(&self, key: &Arc<str>, id: &Arc<str>) {
        let permit = HeldPermit { key: Arc::clone(key), since: Instant::now() };
        self.permits().insert(Arc::clone(id), permit);
    }

    pub(super) fn remove(&self, id: &str) {
        let mut permits = self.permits();
        permits.remove(id);
        if let Some(capacity) = shrunk(permits.len(), permits.capacity(), SMALL) {
            permits.shrink_to(capacity);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.permits().len()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.permits().contains_key(id)
    }

    /// Records that the leases of these permits were renewed by a call sent at `sent`.
    pub(super) fn renewed<'a>(&self, ids: impl Iterator<Item = &'a Arc<str>>, sent: Instant) {
        let mut permits = self.permits();
        for id in ids {
            if let Some(permit) = permits.get_mut(id) {
                permit.since = sent;
            }
        }
    }

    /// Returns the permits whose lease is at least `age` old, by key.
    pub(super) fn older_than(&self, age: Duration) -> HashMap<Arc<str>, Vec<Arc<str>>> {
        let mut due: HashMap<_, Vec<_>> = HashMap::new();
        for (id, permit) in self.permits().iter() {
            if permit.since.elapsed() >= age {
                due.entry(Arc::clone(&permit.key)).or_default().push(Arc::clone(id));
            }
        }
        due
    }

    /// Starts the renewal task, unless it runs already.
    pub(super) fn keep_renewing(&self, begin: impl FnOnce() -> Task) {
        self.renewal.get_or_init(begin);
    }

    fn permits(&self) -> MutexGuard<'_, HashMap<Arc<str>, HeldPermit>> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
