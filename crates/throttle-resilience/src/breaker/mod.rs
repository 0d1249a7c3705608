//! A storage that is left alone while it fails.

mod config;
mod machine;
mod ring;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Deref, sync::Arc, time::Instant};

use throttle_core::{AtomicStorage, Reply, Storage, StorageCall, StorageError, Wrapper};

pub use self::config::{CircuitBreakerConfig, CircuitChange, CircuitState, CircuitStats};
use self::machine::{Machine, Permit, Went};
use crate::error::Error;

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

    /// Returns what it saw and did so far.
    #[must_use]
    pub fn stats(&self) -> CircuitStats {
        self.machine.stats()
    }
}

impl Wrapper for CircuitBreaker {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.storage
    }

    /// Makes a call if it may go through, and records how it went.
    #[inline]
    fn around<T: Send + 'static>(
        &self,
        call: StorageCall,
        forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
    ) -> Reply<T> {
        if call == StorageCall::Clear {
            return forward(&self.storage); // it visits every key: that it takes long says nothing
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
            .field("storage", &self.storage.kind())
            .field("stats", &self.stats())
            .finish()
    }
}
