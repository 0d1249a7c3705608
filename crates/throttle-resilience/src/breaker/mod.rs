//! A storage that is left alone while it fails.

mod circuit;
mod machine;
mod ring;
#[cfg(test)]
mod tests;

use std::{fmt, future::Future, ops::Deref, sync::Arc, time::Instant};

use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, Outcome, PlaceStorage, PlacesOf, Refund, Reply, Storage,
    StorageError, Taken,
};

pub use self::circuit::{Circuit, CircuitChange, CircuitFigures, CircuitState};
use self::machine::{Machine, Permit, Went};
use crate::{
    Error,
    forward::{forwarded_facts, guarded_operations},
};

/// Stops asking a storage that fails too often, so that requests do not wait for it in vain and it can
/// come back; then lets one request at a time probe it.
///
/// Calls that are not let through fail at once, with [`Effect::None`](throttle_core::Effect). An error
/// that is about one key alone ([`StorageError::is_of_key`]) is no failure of the storage. A call that
/// its caller gave up is not counted; put a [`Deadline`](crate::Deadline) within, so that the breaker
/// sees what is late.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; }
/// use ratethrottle::{Circuit, CircuitBreaker, Deadline, Deadlines, Storage};
///
/// fn wrapped(storage: impl Storage) -> CircuitBreaker {
///     let circuit = Circuit::new()
///         .window(200)
///         .slow_after(Duration::from_millis(20))
///         .on_change(|change| println!("{:?} -> {:?}", change.from, change.to));
///     CircuitBreaker::new(Deadline::new(storage, Deadlines::new()), circuit)
/// }
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn AtomicStorage>,
    machine: Arc<Machine>,
}

impl CircuitBreaker {
    /// Wraps a storage.
    pub fn new(storage: impl Storage, circuit: Circuit) -> Self {
        let storage = Arc::new(storage).atomic();
        Self { inner: Arc::new(Inner { storage, machine: Arc::new(Machine::new(circuit)) }) }
    }

    /// Returns what it saw and did so far.
    #[must_use]
    pub fn figures(&self) -> CircuitFigures {
        self.inner.machine.figures()
    }

    /// Makes a call if it may go through, and takes note of how it went.
    #[inline]
    fn call<T: Send + Unpin + 'static>(
        &self,
        call: impl FnOnce(&dyn AtomicStorage) -> Reply<T>,
    ) -> Reply<T> {
        let machine = &self.inner.machine;
        let Some(permit) = machine.permit() else {
            return Reply::ready(Err(rejected()));
        };
        let watched = Watched::new(&**machine, permit);
        match call(&*self.inner.storage).into_ready() {
            Ok(answer) => {
                watched.done(&answer);
                Reply::ready(answer)
            }
            Err(pending) => {
                let watched = watched.held_by(Arc::clone(machine));
                Reply::pending(async move {
                    let answer = pending.await;
                    watched.done(&answer);
                    answer
                })
            }
        }
    }

    async fn guard<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let permit = self.inner.machine.permit().ok_or_else(rejected)?;
        let watched = Watched::new(Arc::clone(&self.inner.machine), permit);
        let answer = call.await;
        watched.done(&answer);
        answer
    }

    /// `clear` visits every key: that it takes long says nothing.
    async fn guard_clear<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        call.await
    }
}

guarded_operations!(CircuitBreaker);

impl AtomicStorage for CircuitBreaker {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.call(|storage| storage.acquire(request))
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.call(|storage| storage.peek(request))
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        self.call(|storage| storage.refund(refunds, clock))
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        self.call(|storage| storage.reset(request))
    }

    fn places(&self) -> Option<Arc<dyn PlaceStorage>> {
        let (breaker, places) = (self.clone(), self.inner.storage.places()?);
        Some(Arc::new(WatchedPlaces { breaker, places }))
    }

    forwarded_facts!();
}

/// Asks for places through the breaker, as for decisions.
struct WatchedPlaces {
    breaker: CircuitBreaker,
    places: Arc<dyn PlaceStorage>,
}

impl PlaceStorage for WatchedPlaces {
    fn take(&self, of: &PlacesOf<'_>, limit: u64) -> Reply<Taken> {
        self.breaker.call(|_| self.places.take(of, limit))
    }

    fn in_use(&self, of: &PlacesOf<'_>) -> Reply<u64> {
        self.breaker.call(|_| self.places.in_use(of))
    }
}

fn rejected() -> StorageError {
    StorageError::not_carried_out(Error::CircuitOpen)
}

fn went<T>(answer: &Result<T, StorageError>) -> Went<'_> {
    match answer {
        Err(error) if !error.is_of_key() => Went::Failed(error),
        _ => Went::Well,
    }
}

/// Watches a call; if it is dropped before it is done, by a caller that goes away or by a panic, the
/// call is forgotten.
struct Watched<M: Deref<Target = Machine>> {
    machine: M,
    permit: Option<Permit>,
    began: Option<Instant>,
}

impl<M: Deref<Target = Machine>> Watched<M> {
    #[inline]
    fn new(machine: M, permit: Permit) -> Self {
        let began = machine.slow_after().map(|_| Instant::now());
        Self { machine, permit: Some(permit), began }
    }

    fn held_by<N: Deref<Target = Machine>>(mut self, machine: N) -> Watched<N> {
        Watched { machine, permit: self.permit.take(), began: self.began }
    }

    #[inline]
    fn done<T>(mut self, answer: &Result<T, StorageError>) {
        let Some(permit) = self.permit.take() else { return };
        let slow = self.began.zip(self.machine.slow_after());
        let went = match went(answer) {
            Went::Well if slow.is_some_and(|(began, most)| began.elapsed() > most) => Went::Slowly,
            went => went,
        };
        self.machine.record(permit, &went);
    }
}

impl<M: Deref<Target = Machine>> Drop for Watched<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(permit) = self.permit {
            self.machine.forget(permit);
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("storage", &self.inner.storage.kind())
            .field("figures", &self.figures())
            .finish()
    }
}
