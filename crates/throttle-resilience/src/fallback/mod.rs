//! A fallback for requests that the storage could not decide.

mod answer;
mod concurrency;
mod deferred;
mod modes;
mod recover;
mod replay;
mod state;

use std::{fmt, sync::Arc};

use throttle_core::{
    AtomicStorage, ChargeRequest, ConcurrencyStorage, Outcome, Reply, Storage, StorageCall,
    StorageError, Wrapper, async_trait,
};

pub use self::modes::{FailureMode, FailureModes, FallbackChange, FallbackStats};
use self::{concurrency::FallbackPermits, state::Inner};

/// A wrapper that applies the [`FailureModes`] of the rules when its storage fails.
///
/// Any error counts, regardless of its cause, so a rule that fails open or decides locally stays
/// available. The log shows the cause. Decisions made without the storage are marked
/// ([`Decision::is_degraded`](throttle_core::Decision::is_degraded)). Every request still tries the
/// storage first, so the storage decides again as soon as it answers.
///
/// - A request with several rules fails if one of them fails closed. Otherwise the local rules
///   decide together, all or nothing, and the rules that fail open allow it.
/// - Costs allowed locally become deferred charges. When the storage answers again, a background task in a tokio
///   runtime replays them, as far as they still count and fit the limit. If the failed call may have been carried out,
///   its cost is not deferred, because it could be charged twice.
/// - A refund or a reset goes to the storage, and fails if the storage does. Degraded decisions are
///   not refunded.
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
                target: "ratethrottle::resilience",
                "a rule has the failure mode `Local` without a local storage; it fails closed"
            );
        }
        Self { inner: Arc::new(Inner::new(Arc::new(storage).atomic(), modes)) }
    }

    /// Sets the number of instances that share the limits, for a number that changes at run time. 0
    /// counts as 1.
    ///
    /// If the number is [discovered](crate::Instances::discovered), this replaces it until the next
    /// count.
    pub fn set_instances(&self, instances: u64) {
        self.inner.instances.set(instances);
    }

    /// Returns the statistics since the fallback was created.
    #[must_use]
    pub fn stats(&self) -> FallbackStats {
        self.inner.stats()
    }

    /// Returns the storage's decision, or decides without the storage.
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
        self.inner.instances.discover_from(&self.inner.storage);
        self.decide(request, self.inner.storage.acquire(request), StorageCall::Acquire)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.decide(request, self.inner.storage.peek(request), StorageCall::Peek)
    }

    /// Resets the local storage and drops deferred charges too, even if the storage fails.
    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        let shared = self.inner.storage.reset(request);
        self.inner.deferred.forget(request);
        match &self.inner.modes.local {
            Some(local) => local.storage.reset(request).and_then(|was_local| {
                shared.and_then(move |was_shared| Reply::ready(Ok(was_local || was_shared)))
            }),
            None => shared,
        }
    }

    /// Replays deferred charges, if the storage answers.
    fn shutdown(&self) -> Reply<()> {
        let inner = Arc::clone(&self.inner);
        Reply::pending(async move {
            inner.replay_all().await;
            inner.storage.shutdown().await?;
            match inner.deferred.len() {
                0 => Ok(()),
                n => Err(StorageError::other(format!("{n} deferred charges were not replayed"))),
            }
        })
    }

    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        let (inner, permits) = (Arc::clone(&self.inner), self.inner.storage.concurrency()?);
        Some(Arc::new(FallbackPermits::new(inner, permits)))
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.inner.deferred.clear();
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
