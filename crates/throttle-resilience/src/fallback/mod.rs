//! A storage with another way to answer.

mod answer;
mod concurrency;
mod debts;
mod modes;
mod recover;
mod repay;
mod state;

use std::{fmt, sync::Arc};

use throttle_core::{
    AtomicStorage, ChargeRequest, ConcurrencyStorage, Outcome, Reply, Storage, StorageCall,
    StorageError, Wrapper, async_trait,
};

pub use self::modes::{FailureMode, FailureModes, FallbackChange, FallbackStats};
use self::{concurrency::FallbackPlaces, state::Inner};

/// Answers by the [`FailureModes`] of the rules what its storage cannot decide.
///
/// Any error counts, whatever it is about, so that a rule that is open or local stays available; what
/// is to be mended is in the log. Decisions that the storage did not make say so
/// ([`Decision::is_degraded`](throttle_core::Decision::is_degraded)), and are made by the storage again
/// as soon as it answers.
///
/// - A request of several rules fails if one of them is closed. Otherwise those that are local decide
///   together, all or nothing, and those that are open admit.
/// - What was admitted locally is charged to the storage when that is back, in the background, in a
///   tokio runtime: as much as still counts by then, and as the limit has room for. If nobody knows
///   whether the call that failed was carried out, nothing is charged again.
/// - A refund or a reset goes to the storage, and fails with it. What a degraded decision admitted is not
///   given back.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::{Storage, resilience::{Fallback, FailureMode, FailureModes}};
///
/// fn wrapped(shared: impl Storage, memory: impl Storage) -> Fallback {
///     Fallback::new(shared, FailureModes::local(memory, 3).rule("login", FailureMode::FailClosed))
/// }
/// ```
#[derive(Clone)]
pub struct Fallback {
    inner: Arc<Inner>,
}

impl Fallback {
    /// Wraps a storage.
    pub fn new(storage: impl Storage, modes: FailureModes) -> Self {
        let without = |mode: &FailureMode| *mode == FailureMode::Local && modes.local.is_none();
        if without(&modes.otherwise) || modes.rules.values().any(without) {
            tracing::error!(
                "a rule is to be decided locally without a storage for it: it is closed"
            );
        }
        Self { inner: Arc::new(Inner::new(Arc::new(storage).atomic(), modes)) }
    }

    /// Sets how many servers share the limits, where that changes while they serve; 0 counts as 1. Where
    /// the number is [learnt](crate::Instances::discovered), it is what is known until they are counted again.
    pub fn set_instances(&self, servers: u64) {
        self.inner.servers.set(servers);
    }

    /// Returns what was answered without the storage so far.
    #[must_use]
    pub fn stats(&self) -> FallbackStats {
        self.inner.stats()
    }

    /// Passes a decision on, or answers without the storage.
    #[inline]
    fn decide(
        &self,
        request: &ChargeRequest<'_>,
        reply: Reply<Outcome>,
        call: StorageCall,
    ) -> Reply<Outcome> {
        reply.then_with(&self.inner, request, move |inner, request, answer| match answer {
            Ok(outcome) => {
                inner.answered();
                Reply::ready(Ok(outcome))
            }
            Err(error) => inner.answer(request, error, call),
        })
    }
}

#[async_trait]
impl Wrapper for Fallback {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner.storage
    }

    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.inner.servers.learn_from(&self.inner.storage);
        self.decide(request, self.inner.storage.acquire(request), StorageCall::Acquire)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.decide(request, self.inner.storage.peek(request), StorageCall::Peek)
    }

    /// Forgets the keys here as well, whether or not the storage can.
    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        let shared = self.inner.storage.reset(request);
        self.inner.debts.forget(request);
        match &self.inner.modes.local {
            Some(local) => local.storage.reset(request).and_then(|()| shared),
            None => shared,
        }
    }

    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        let (inner, places) = (Arc::clone(&self.inner), self.inner.storage.concurrency()?);
        Some(Arc::new(FallbackPlaces::new(inner, places)))
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.inner.debts.clear();
        if let Some(local) = &self.inner.modes.local {
            local.storage.clear().await?;
        }
        self.inner.storage.clear().await
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("storage", &self.inner.storage.kind())
            .field("modes", &self.inner.modes)
            .field("stats", &self.stats())
            .finish()
    }
}
