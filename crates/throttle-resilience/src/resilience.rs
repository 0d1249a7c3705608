//! All wrappers in their order, in one line.

use std::{fmt, sync::Arc, time::Duration};

use serde::Serialize;
use throttle_core::{AtomicStorage, Storage, StorageError, Value, async_trait};

use crate::{
    Circuit, CircuitBreaker, CircuitFigures, Deadline, Deadlines, DenialFigures, Fallback,
    FallbackFigures, LocalDenials, Modes,
};

/// Composes the wrappers in the order in which they belong.
///
/// From the storage outwards: [`Deadline`], so that every call ends; [`CircuitBreaker`], which sees what
/// was late; [`Fallback`], which answers for both; [`LocalDenials`], if wanted, which asks none of them.
/// Deadline and breaker are there without being asked for; rules are closed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use throttle_core::{Limiter, Storage};
/// use throttle_resilience::{Mode, Modes, Resilience};
///
/// fn limiter(redis: impl Storage, memory: impl Storage) -> Limiter {
///     let modes = Modes::local(memory, 3).rule("login", Mode::Closed);
///     let storage = Resilience::new(redis).deadline(Duration::from_millis(50)).mode(modes).build();
///     Limiter::new(storage)
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Resilience<S> {
    storage: S,
    deadlines: Deadlines,
    circuit: Circuit,
    modes: Modes,
    denials: Option<usize>,
}

impl<S: Storage> Resilience<S> {
    /// Begins with the storage to protect.
    pub fn new(storage: S) -> Self {
        let (deadlines, circuit, modes) = Default::default();
        Self { storage, deadlines, circuit, modes, denials: None }
    }

    /// Bounds how long calls take; a duration bounds decisions. Default [`Deadlines::new`].
    pub fn deadline(mut self, deadlines: impl Into<Deadlines>) -> Self {
        self.deadlines = deadlines.into();
        self
    }

    /// Says when the storage is left alone; default [`Circuit::new`].
    pub fn breaker(mut self, circuit: Circuit) -> Self {
        self.circuit = circuit;
        self
    }

    /// Says what the rules do while the storage fails; default [`Modes::closed`].
    pub fn mode(mut self, modes: Modes) -> Self {
        self.modes = modes;
        self
    }

    /// Keeps denials of up to so many keys at hand; default: none.
    pub fn denials(mut self, max_keys: usize) -> Self {
        self.denials = Some(max_keys);
        self
    }

    /// Wraps the storage.
    #[must_use]
    pub fn build(self) -> Resilient {
        let deadline = Deadline::new(self.storage, self.deadlines);
        let breaker = CircuitBreaker::new(deadline, self.circuit);
        let fallback = Fallback::new(breaker.clone(), self.modes);
        let denials = self.denials.map(|keys| LocalDenials::new(fallback.clone(), keys));
        let outermost = match &denials {
            Some(denials) => Arc::new(denials.clone()).atomic(),
            None => Arc::new(fallback.clone()).atomic(),
        };
        Resilient { outermost, breaker, fallback, denials }
    }
}

/// A storage with its wrappers; clones share them.
#[derive(Clone)]
pub struct Resilient {
    outermost: Arc<dyn AtomicStorage>,
    breaker: CircuitBreaker,
    fallback: Fallback,
    denials: Option<LocalDenials>,
}

/// Counts what the wrappers saw and did.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct ResilienceFigures {
    /// The circuit breaker's.
    pub circuit: CircuitFigures,
    /// What was answered without the storage.
    pub fallback: FallbackFigures,
    /// What was refused without asking, if denials are kept at hand.
    pub denials: Option<DenialFigures>,
}

impl Resilient {
    /// Returns what the wrappers saw and did so far.
    #[must_use]
    pub fn figures(&self) -> ResilienceFigures {
        ResilienceFigures {
            circuit: self.breaker.figures(),
            fallback: self.fallback.figures(),
            denials: self.denials.as_ref().map(LocalDenials::figures),
        }
    }

    /// Returns the wrapper that answers without the storage.
    #[must_use]
    pub fn fallback(&self) -> &Fallback {
        &self.fallback
    }
}

#[async_trait]
impl Storage for Resilient {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        self.outermost.get(key).await
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        self.outermost.set(key, value, ttl).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        self.outermost.increment(key, amount, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.outermost.delete(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.outermost.exists(key).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.outermost.clear().await
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        Arc::clone(&self.outermost)
    }
}

impl fmt::Debug for Resilient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilient")
            .field("storage", &self.outermost.kind())
            .field("figures", &self.figures())
            .finish()
    }
}
