//! A storage whose answers come in time or not at all.

use std::{fmt, sync::Arc, time::Duration};

use throttle_core::{AtomicStorage, Reply, Storage, StorageCall, StorageError, Wrapper};

use crate::{error::Error, timer::within};

/// Gives every call of a storage a deadline; what comes later is dropped.
///
/// A call that is late may have been carried out ([`Effect::Unknown`](throttle_core::Effect)), so
/// it is not sent again: its charge may have been made, and then it counts. What answers at once pays
/// for no timer.
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

/// Says how long each kind of call may take.
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
    /// Gives decisions 100 ms, all else a second, and `clear`, which visits every key, a minute.
    pub fn new() -> Self {
        Self::of(Duration::from_millis(100))
    }

    /// Gives decisions (acquire and peek) so long, and the rest what [`Deadlines::new`] gives it.
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

    /// Bounds decisions that charge; default 100 ms.
    pub fn acquire(self, acquire: Duration) -> Self {
        Self { acquire, ..self }
    }

    /// Bounds decisions that charge nothing; default 100 ms.
    pub fn peek(self, peek: Duration) -> Self {
        Self { peek, ..self }
    }

    /// Bounds refunds; default 1 s.
    pub fn refund(self, refund: Duration) -> Self {
        Self { refund, ..self }
    }

    /// Bounds resets; default 1 s.
    pub fn reset(self, reset: Duration) -> Self {
        Self { reset, ..self }
    }

    /// Bounds `get`, `set`, `increment`, `delete` and `exists`; default 1 s.
    pub fn operations(self, operations: Duration) -> Self {
        Self { operations, ..self }
    }

    /// Bounds `clear`; default a minute.
    pub fn clear(self, clear: Duration) -> Self {
        Self { clear, ..self }
    }

    fn bound(&self, call: StorageCall) -> Duration {
        match call {
            // A permit whose answer is late is released by the storage: its reply is dropped.
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

/// Passes on what is there; gives what is on its way so long.
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
