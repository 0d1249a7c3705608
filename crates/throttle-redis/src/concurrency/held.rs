//! What this process holds.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::sharded::shrunk;
use tokio::{runtime::Handle, task::JoinHandle};

/// A map of this capacity does not shrink.
const SMALL: usize = 1024;

/// The permits that this process holds, and the task that renews them.
pub(super) struct Held {
    lease: Duration,
    /// Tells the permits of this process from those of others.
    process: u64,
    next: AtomicU64,
    permits: Mutex<HashMap<Arc<str>, Holding>>,
    /// Where calls are made that nobody waits for: where the connections live.
    runtime: OnceLock<Handle>,
    renewal: Mutex<Option<JoinHandle<()>>>,
}

struct Holding {
    key: Arc<str>,
    /// When its lease was begun last.
    since: Instant,
}

impl Held {
    pub(super) fn new(lease: Duration) -> Self {
        let runtime = OnceLock::new();
        if let Ok(here) = Handle::try_current() {
            runtime.get_or_init(|| here);
        }
        Self {
            lease,
            process: fastrand::u64(..),
            next: AtomicU64::new(0),
            permits: Mutex::default(),
            runtime,
            renewal: Mutex::default(),
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
        let holding = Holding { key: Arc::clone(key), since: Instant::now() };
        self.permits().insert(Arc::clone(id), holding);
    }

    pub(super) fn remove(&self, id: &str) {
        let mut permits = self.permits();
        permits.remove(id);
        if let Some(capacity) = shrunk(permits.len(), permits.capacity(), SMALL) {
            permits.shrink_to(capacity);
        }
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.permits().contains_key(id)
    }

    /// Notes that leases begun before `sent` begin anew then.
    pub(super) fn renewed<'a>(&self, ids: impl Iterator<Item = &'a Arc<str>>, sent: Instant) {
        let mut permits = self.permits();
        for id in ids {
            if let Some(holding) = permits.get_mut(id) {
                holding.since = sent;
            }
        }
    }

    /// Returns the permits whose lease was begun so long ago, by their keys.
    pub(super) fn older_than(&self, age: Duration) -> HashMap<Arc<str>, Vec<Arc<str>>> {
        let mut due: HashMap<_, Vec<_>> = HashMap::new();
        for (id, holding) in self.permits().iter() {
            if holding.since.elapsed() >= age {
                due.entry(Arc::clone(&holding.key)).or_default().push(Arc::clone(id));
            }
        }
        due
    }

    /// Makes a call that nobody waits for. Where there is no runtime (any more) it is not made.
    pub(super) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Option<JoinHandle<()>> {
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let here = Handle::try_current().ok()?;
                self.runtime.get_or_init(|| here)
            }
        };
        Some(runtime.spawn(work))
    }

    /// Has `work` run, unless it runs already.
    pub(super) fn keep_renewing<F>(&self, work: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        if renewal.as_ref().is_none_or(JoinHandle::is_finished) {
            *renewal = self.spawn(work());
        }
    }

    fn permits(&self) -> MutexGuard<'_, HashMap<Arc<str>, Holding>> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let renewal = self.renewal.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(renewal) = renewal.take() {
            renewal.abort();
        }
    }
}
