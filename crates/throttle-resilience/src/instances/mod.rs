//! How many servers share the limits: given, or learnt from the storage that they share.

mod learn;

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

use self::learn::Learner;

/// Says how many servers share the limits; clones share what is known.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::{Storage, resilience::{FailureModes, Instances}};
///
/// fn modes(memory: impl Storage) -> FailureModes {
///     FailureModes::local(memory, Instances::discovered(3)) // three, until it is known better
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Instances {
    inner: Arc<Inner>,
}

struct Inner {
    count: AtomicU64,
    learning: Option<Learning>,
}

struct Learning {
    every: Duration,
    /// Whether somebody is at it.
    begun: AtomicBool,
}

/// Servers are counted anew this often, unless something else is said.
const EVERY: Duration = Duration::from_secs(15);
const LEAST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_secs(86_400);

impl Instances {
    /// Takes their number; 0 counts as 1.
    pub fn fixed(count: u64) -> Self {
        Self::of(count, None)
    }

    /// Learns their number: each server counts itself in the storage that they share, once in each
    /// [period](Instances::every), and sees how many others did so. `at_first` is what it goes by until
    /// then; 0 counts as 1.
    ///
    /// It begins with the first request, in the background, and takes a tokio runtime. A server that
    /// begins is counted by all others within a period, one that ends is counted for up to three more. While
    /// the storage fails the number last known counts, and a server that could not count itself does not
    /// believe that others are fewer.
    pub fn discovered(at_first: u64) -> Self {
        Self::of(at_first, Some(EVERY))
    }

    /// Counts the servers once in each period of this length, from 10 ms to a day; default 15 s. All servers
    /// must say the same. It takes three calls of the storage from each. Without effect on a number that is
    /// given.
    pub fn every(self, period: Duration) -> Self {
        let learnt = self.inner.learning.is_some();
        Self::of(self.count().get(), learnt.then_some(period.clamp(LEAST, MOST)))
    }

    fn of(count: u64, every: Option<Duration>) -> Self {
        let learning = every.map(|every| Learning { every, begun: AtomicBool::new(false) });
        Self { inner: Arc::new(Inner { count: AtomicU64::new(count.max(1)), learning }) }
    }

    /// Returns their number, as far as it is known.
    #[inline]
    #[must_use]
    pub fn count(&self) -> NonZeroU64 {
        NonZeroU64::new(self.inner.count.load(Relaxed)).unwrap_or(NonZeroU64::MIN)
    }

    pub(crate) fn set(&self, count: u64) {
        self.inner.set(count);
    }

    /// Learns from a storage, if their number is to be learnt and nobody is at it.
    #[inline]
    pub(crate) fn learn_from(&self, storage: &Arc<dyn AtomicStorage>) {
        if let Some(learning) = &self.inner.learning
            && !learning.begun.load(Relaxed)
        {
            self.begin(learning, storage);
        }
    }

    #[cold]
    fn begin(&self, learning: &Learning, storage: &Arc<dyn AtomicStorage>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if learning.begun.swap(true, Relaxed) {
            return;
        }
        let begun = Begun(Arc::downgrade(&self.inner));
        let mut learner = Learner::new(learning.every, self.count().get());
        let storage = Arc::downgrade(storage);
        runtime.spawn(async move {
            loop {
                let Some(storage) = storage.upgrade() else { return };
                let (count, pause) = learner.look(&storage).await;
                drop(storage);
                let Some(inner) = begun.0.upgrade() else { return };
                inner.learnt(count);
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

    fn learnt(&self, count: u64) {
        let before = self.count.swap(count.max(1), Relaxed);
        if before != count {
            tracing::info!(count, before, "the number of servers that share the limits changed");
        }
    }
}

/// Says that somebody learns, until it is dropped: also when the runtime ends the task.
struct Begun(Weak<Inner>);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade()
            && let Some(learning) = &inner.learning
        {
            learning.begun.store(false, Relaxed);
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
        f.debug_struct("Servers")
            .field("count", &self.count())
            .field("learnt_every", &self.inner.learning.as_ref().map(|learning| learning.every))
            .finish()
    }
}
