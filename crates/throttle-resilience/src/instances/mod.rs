//! The number of instances that share the limits: fixed, or discovered through the storage.

mod discovery;

use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use throttle_core::AtomicStorage;
use tokio::runtime::Handle;

use self::discovery::Discovery;

/// The number of instances of the service that share the limits. Clones share the current number.
///
/// Leases and the local fallback divide by it, so that the instances together stay within the
/// limit.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::{Storage, resilience::{FailureModes, Instances}};
///
/// fn modes(memory: impl Storage) -> FailureModes {
///     FailureModes::local(memory, Instances::discovered(3)) // three until they are counted
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Instances {
    inner: Arc<Inner>,
}

struct Inner {
    count: AtomicU64,
    discovering: Option<Discovering>,
}

struct Discovering {
    every: Duration,
    /// Whether a task counts the instances.
    begun: AtomicBool,
}

/// The default period.
const EVERY: Duration = Duration::from_secs(15);
const LEAST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_secs(86_400);

impl Instances {
    /// Sets a fixed number. 0 counts as 1.
    pub fn fixed(count: u64) -> Self {
        Self::of(count, None)
    }

    /// Discovers the number. Each instance counts itself in the shared storage once in each
    /// [period](Instances::every), and reads how many others did. `initial` is used until then; 0
    /// counts as 1.
    ///
    /// Counting begins with the first request and runs in the background, in a tokio runtime. A new
    /// instance is counted by all others within a period; one that ends is counted for up to three
    /// more periods. While the storage fails, the last known number is used. An instance that could
    /// not count itself does not reduce the number, because others may have failed to count
    /// themselves too.
    pub fn discovered(initial: u64) -> Self {
        Self::of(initial, Some(EVERY))
    }

    /// Sets the period of discovery, from 10 ms to a day. Default: 15 s.
    ///
    /// All instances must use the same period. Each makes three calls to the storage per period.
    /// This has no effect on a fixed number.
    pub fn every(self, period: Duration) -> Self {
        let discovered = self.inner.discovering.is_some();
        Self::of(self.count().get(), discovered.then_some(period.clamp(LEAST, MOST)))
    }

    fn of(count: u64, every: Option<Duration>) -> Self {
        let discovering = every.map(|every| Discovering { every, begun: AtomicBool::new(false) });
        Self { inner: Arc::new(Inner { count: AtomicU64::new(count.max(1)), discovering }) }
    }

    /// Returns the current number.
    #[inline]
    #[must_use]
    pub fn count(&self) -> NonZeroU64 {
        NonZeroU64::new(self.inner.count.load(Relaxed)).unwrap_or(NonZeroU64::MIN)
    }

    pub(crate) fn set(&self, count: u64) {
        self.inner.set(count);
    }

    /// Starts discovery through a storage, if the number is discovered and no task counts yet.
    #[inline]
    pub(crate) fn discover_from(&self, storage: &Arc<dyn AtomicStorage>) {
        if let Some(discovering) = &self.inner.discovering
            && !discovering.begun.load(Relaxed)
        {
            self.begin(discovering, storage);
        }
    }

    #[cold]
    fn begin(&self, discovering: &Discovering, storage: &Arc<dyn AtomicStorage>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if discovering.begun.swap(true, Relaxed) {
            return;
        }
        let begun = Begun(Arc::downgrade(&self.inner));
        let mut discovery = Discovery::new(discovering.every, self.count().get());
        let storage = Arc::downgrade(storage);
        runtime.spawn(async move {
            loop {
                let Some(storage) = storage.upgrade() else { return };
                let (count, pause) = discovery.refresh(&storage).await;
                drop(storage);
                let Some(inner) = begun.0.upgrade() else { return };
                inner.discovered(count);
                drop(inner);
                tokio::time::sleep(pause).await;
            }
        });
    }
}

impl Inner {
    fn set(&self, count: u64) {
        self.count.store(count.max(1), Relaxed);
    }

    fn discovered(&self, count: u64) {
        let before = self.count.swap(count.max(1), Relaxed);
        if before != count {
            tracing::info!(
                target: "ratethrottle::resilience",
                count, before, "the number of instances that share the limits changed"
            );
        }
    }
}

/// A guard of the counting task. Its drop allows another task to begin, even if the runtime ended
/// this one.
struct Begun(Weak<Inner>);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade()
            && let Some(discovering) = &inner.discovering
        {
            discovering.begun.store(false, Relaxed);
        }
    }
}

impl From<u64> for Instances {
    fn from(count: u64) -> Self {
        Self::fixed(count)
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances")
            .field("count", &self.count())
            .field(
                "discovered_every",
                &self.inner.discovering.as_ref().map(|discovering| discovering.every),
            )
            .finish()
    }
}
