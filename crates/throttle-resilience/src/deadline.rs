//! A deadline for every call of a storage.

use std::{fmt, sync::Arc, time::Duration};

use throttle_core::{AtomicStorage, Reply, Storage, StorageCall, StorageError, Wrapper};

use crate::{error::Error, timer::within};

/// A wrapper that ends calls of a storage that take too long.
///
/// A late call returns [`Error::Late`](crate::Error::Late), and its answer is dropped. It may have
/// been carried out ([`Effect::Unknown`](throttle_core::Effect)), so it is not retried: if its
/// charge was made, the charge counts. No timer is created for a storage that answers immediately.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::{Limiter, Storage, resilience::{Deadline, Deadlines}};
///
/// fn limiter(storage: impl Storage) -> Limiter {
///     Limiter::new(Deadline::new(storage, Deadlines::of(Duration::from_millis(50))))
/// }
/// ```
#[derive(Clone)]
pub struct Deadline {
    storage: Arc<dyn AtomicStorage>,
    deadlines: Deadlines,
}

/// The deadlines of each kind of call.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Deadlines {
    pub(crate) acquire: Duration,
    peek: Duration,
    refund: Duration,
    reset: Duration,
    operations: Duration,
    clear: Duration,
}

impl Deadlines {
    /// Creates the default deadlines: 100 ms for decisions, a minute for `clear`, which visits
    /// every key, and a second for all other calls.
    pub fn new() -> Self {
        Self::of(Duration::from_millis(100))
    }

    /// Creates deadlines with this one for decisions (`acquire` and `peek`), and the defaults for other calls.
    pub fn of(decision: Duration) -> Self {
        let second = Duration::from_secs(1);
        Self {
            acquire: decision,
            peek: decision,
            refund: second,
            reset: second,
            operations: second,
            clear: Duration::from_secs(60),
        }
    }

    /// Sets the deadline of decisions that charge. Default: 100 ms.
    pub fn acquire(self, acquire: Duration) -> Self {
        Self { acquire, ..self }
    }

    /// Sets the deadline of decisions that do not charge. Default: 100 ms.
    pub fn peek(self, peek: Duration) -> Self {
        Self { peek, ..self }
    }

    /// Sets the deadline of refunds. Default: 1 s.
    pub fn refund(self, refund: Duration) -> Self {
        Self { refund, ..self }
    }

    /// Sets the deadline of resets. Default: 1 s.
    pub fn reset(self, reset: Duration) -> Self {
        Self { reset, ..self }
    }

    /// Sets the deadline of `get`, `set`, `increment`, `delete` and `exists`. Default: 1 s.
    pub fn operations(self, operations: Duration) -> Self {
        Self { operations, ..self }
    }

    /// Sets the deadline of `clear`. Default: 60 s.
    pub fn clear(self, clear: Duration) -> Self {
        Self { clear, ..self }
    }

    fn bound(&self, call: StorageCall) -> Duration {
        match call {
            // If the answer is late, its reply is dropped, and the storage releases the permit.
            StorageCall::Acquire | StorageCall::AcquirePermit => self.acquire,
            StorageCall::Peek | StorageCall::PermitsInUse => self.peek,
            StorageCall::Refund => self.refund,
            StorageCall::Reset => self.reset,
            StorageCall::Clear => self.clear,
            _ => self.operations,
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Duration> for Deadlines {
    fn from(decision: Duration) -> Self {
        Self::of(decision)
    }
}

impl Deadline {
    /// Wraps a storage.
    pub fn new(storage: impl Storage, deadlines: impl Into<Deadlines>) -> Self {
        Self { storage: Arc::new(storage).atomic(), deadlines: deadlines.into() }
    }
}

impl Wrapper for Deadline {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.storage
    }

    #[inline]
    fn around<T: Send + 'static>(
        &self,
        call: StorageCall,
        forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
    ) -> Reply<T> {
        in_time(forward(&self.storage), self.deadlines.bound(call))
    }
}

/// Returns a ready answer as it is, and ends a pending one after `span`.
#[inline]
pub(crate) fn in_time<T: Send + 'static>(reply: Reply<T>, span: Duration) -> Reply<T> {
    match reply.into_ready() {
        Ok(answer) => Reply::ready(answer),
        Err(pending) => Reply::pending(async move {
            let answer = within(span, pending).await;
            answer.unwrap_or_else(|| Err(StorageError::other(Error::Late(span))))
        }),
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline")
            .field("storage", &self.storage.kind())
            .field("deadlines", &self.deadlines)
            .finish()
    }
}
