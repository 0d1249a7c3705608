//! A circuit breaker: stops calling a storage that fails too often.

mod config;
mod machine;
mod ring;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Deref, sync::Arc, time::Instant};

use throttle_core::{AtomicStorage, Reply, Storage, StorageCall, StorageError, Wrapper};

pub use self::config::{CircuitBreakerConfig, CircuitChange, CircuitState, CircuitStats};
use self::machine::{CallResult, Machine, Permit};
use crate::error::Error;

/// A wrapper that stops calling a storage that fails too often.
///
/// Requests then do not wait for a storage that is down, and the storage is not kept busy while it
/// recovers. After [`open_duration`](CircuitBreakerConfig::open_duration) one call at a time probes
/// whether the storage is back.
///
/// Rejected calls fail immediately, with [`Effect::None`](throttle_core::Effect). An error that concerns one key only
/// ([`StorageError::is_of_key`]) does not count as a failure. A call that its caller drops is not counted either. Put a
/// [`Deadline`](crate::Deadline) inside the breaker, so that late calls fail and are counted.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::{Storage, resilience::{CircuitBreakerConfig, CircuitBreaker, Deadline, Deadlines}};
///
/// fn wrapped(storage: impl Storage) -> CircuitBreaker {
///     let circuit = CircuitBreakerConfig::new()
///         .window_size(200)
///         .slow_call_threshold(Duration::from_millis(20))
///         .on_change(|change| println!("{:?} -> {:?}", change.from, change.to));
///     CircuitBreaker::new(Deadline::new(storage, Deadlines::new()), circuit)
/// }
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    storage: Arc<dyn AtomicStorage>,
    machine: Arc<Machine>,
}

impl CircuitBreaker {
    /// Wraps a storage.
    pub fn new(storage: impl Storage, circuit: CircuitBreakerConfig) -> Self {
        let storage = Arc::new(storage).atomic();
        Self { storage, machine: Arc::new(Machine::new(circuit)) }
    }

    /// Returns the statistics since the breaker was created.
    #[must_use]
    pub fn stats(&self) -> CircuitStats {
        self.machine.stats()
    }
}

impl Wrapper for CircuitBreaker {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.storage
    }

    /// Makes a call if the circuit allows it, and records its result.
    #[inline]
    fn around<T: Send + 'static>(
        &self,
        call: StorageCall,
        forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
    ) -> Reply<T> {
        if call == StorageCall::Clear {
            return forward(&self.storage); // slow by nature, because it visits every key
        }
        let Some(permit) = self.machine.permit() else {
            return Reply::ready(Err(StorageError::not_carried_out(Error::CircuitOpen)));
        };
        let watched = Watched::new(&*self.machine, permit);
        match forward(&self.storage).into_ready() {
            Ok(answer) => {
                watched.done(&answer);
                Reply::ready(answer)
            }
            Err(pending) => {
                let watched = watched.held_by(Arc::clone(&self.machine));
                pending.then(move |answer| {
                    watched.done(&answer);
                    Reply::ready(answer)
                })
            }
        }
    }
}

fn classify<T>(answer: &Result<T, StorageError>) -> CallResult<'_> {
    match answer {
        Err(error) if !error.is_of_key() => CallResult::Failure(error),
        _ => CallResult::Success,
    }
}

/// A guard for a call in flight.
///
/// If it is dropped before the call has completed (the caller dropped the call, or it panicked),
/// the call is not counted.
struct Watched<M: Deref<Target = Machine>> {
    machine: M,
    permit: Option<Permit>,
    began: Option<Instant>,
}

impl<M: Deref<Target = Machine>> Watched<M> {
    #[inline]
    fn new(machine: M, permit: Permit) -> Self {
        let began = machine.slow_call_threshold().map(|_| Instant::now());
        Self { machine, permit: Some(permit), began }
    }

    fn held_by<N: Deref<Target = Machine>>(mut self, machine: N) -> Watched<N> {
        Watched { machine, permit: self.permit.take(), began: self.began }
    }

    #[inline]
    fn done<T>(mut self, answer: &Result<T, StorageError>) {
        let Some(permit) = self.permit.take() else { return };
        let slow = self.began.zip(self.machine.slow_call_threshold());
        let result = match classify(answer) {
            CallResult::Success if slow.is_some_and(|(began, most)| began.elapsed() > most) => {
                CallResult::Slow
            }
            result => result,
        };
        self.machine.record(permit, &result);
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
            .field("storage", &self.storage.kind())
            .field("stats", &self.stats())
            .finish()
    }
}
