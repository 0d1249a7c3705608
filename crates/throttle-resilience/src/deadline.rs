//! A storage whose answers come in time or not at all.

use std::{future::Future, sync::Arc, time::Duration};

use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, Outcome, PlaceStorage, PlacesOf, Refund, Reply, Storage,
    StorageError, Taken,
};

use crate::{
    Error,
    forward::{forwarded_facts, guarded_operations},
    timer::within,
};

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
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; }
/// use ratethrottle::{Deadline, Deadlines, Limiter, Storage};
///
/// fn limiter(storage: impl Storage) -> Limiter {
///     Limiter::new(Deadline::new(storage, Deadlines::of(Duration::from_millis(50))))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Deadline {
    inner: Arc<Inner>,
}

struct Inner {
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
        let storage = Arc::new(storage).atomic();
        Self { inner: Arc::new(Inner { storage, deadlines: deadlines.into() }) }
    }

    fn guard<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> impl Future<Output = Result<T, StorageError>> {
        bounded(self.inner.deadlines.operations, call)
    }

    fn guard_clear<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> impl Future<Output = Result<T, StorageError>> {
        bounded(self.inner.deadlines.clear, call)
    }
}

guarded_operations!(Deadline);

impl AtomicStorage for Deadline {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        in_time(self.inner.storage.acquire(request), self.inner.deadlines.acquire)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        in_time(self.inner.storage.peek(request), self.inner.deadlines.peek)
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        in_time(self.inner.storage.refund(refunds, clock), self.inner.deadlines.refund)
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        in_time(self.inner.storage.reset(request), self.inner.deadlines.reset)
    }

    fn places(&self) -> Option<Arc<dyn PlaceStorage>> {
        let (places, deadlines) = (self.inner.storage.places()?, self.inner.deadlines);
        Some(Arc::new(BoundedPlaces { places, deadlines }))
    }

    forwarded_facts!();
}

/// Bounds how long questions for places may take: as decisions. A place whose answer is late is given back
/// by the storage, since nobody waits for it any more.
struct BoundedPlaces {
    places: Arc<dyn PlaceStorage>,
    deadlines: Deadlines,
}

impl PlaceStorage for BoundedPlaces {
    fn take(&self, of: &PlacesOf<'_>, limit: u64) -> Reply<Taken> {
        in_time(self.places.take(of, limit), self.deadlines.acquire)
    }

    fn in_use(&self, of: &PlacesOf<'_>) -> Reply<u64> {
        in_time(self.places.in_use(of), self.deadlines.peek)
    }
}

/// Passes on what is there; gives what is on its way so long.
#[inline]
pub(crate) fn in_time<T: Send + Unpin + 'static>(reply: Reply<T>, span: Duration) -> Reply<T> {
    match reply.into_ready() {
        Ok(answer) => Reply::ready(answer),
        Err(pending) => Reply::pending(bounded(span, pending)),
    }
}

async fn bounded<T>(
    span: Duration,
    call: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let answer = within(span, call).await;
    answer.unwrap_or_else(|| Err(StorageError::other(Error::Late(span))))
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("storage", &self.storage.kind())
            .field("deadlines", &self.deadlines)
            .finish()
    }
}
