//! A storage with another way to answer.

mod answer;
mod debts;
mod modes;
mod places;
mod repay;

use std::{
    fmt,
    future::Future,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, Outcome, PlaceStorage, Refund, Reply, Storage,
    StorageError,
};

pub use self::modes::{FallbackChange, FallbackFigures, Mode, Modes};
use self::{answer::Call, debts::Debts, places::FallbackPlaces};
use crate::{
    Servers,
    forward::{forwarded_facts, guarded_operations},
    owned::OwnedRequest,
};

/// How long no call may have failed before the storage counts as back.
const CALM: Duration = Duration::from_secs(1);

/// Answers by the [`Modes`] of the rules what its storage cannot decide.
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
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; }
/// use ratethrottle::{Fallback, Mode, Modes, Storage};
///
/// fn wrapped(shared: impl Storage, memory: impl Storage) -> Fallback {
///     Fallback::new(shared, Modes::local(memory, 3).rule("login", Mode::Closed))
/// }
/// ```
#[derive(Clone)]
pub struct Fallback {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn AtomicStorage>,
    modes: Modes,
    servers: Servers,
    debts: Debts,
    degraded: AtomicBool,
    repaying: AtomicBool,
    /// When a call failed last, in microseconds after `start`.
    failed_at: AtomicU64,
    start: Instant,
    counts: Counts,
    told_of_key: AtomicBool,
}

#[derive(Default)]
struct Counts {
    outages: AtomicU64,
    closed: AtomicU64,
    open: AtomicU64,
    local: AtomicU64,
    of_key: AtomicU64,
}

impl Fallback {
    /// Wraps a storage.
    pub fn new(storage: impl Storage, modes: Modes) -> Self {
        let without = |mode: &Mode| *mode == Mode::Local && modes.local.is_none();
        if without(&modes.otherwise) || modes.rules.values().any(without) {
            tracing::error!(
                "a rule is to be decided locally without a storage for it: it is closed"
            );
        }
        let servers = modes.local.as_ref().map_or(Servers::given(1), |local| local.servers.clone());
        Self {
            inner: Arc::new(Inner {
                storage: Arc::new(storage).atomic(),
                debts: Debts::new(modes.max_debts),
                modes,
                servers,
                degraded: AtomicBool::new(false),
                repaying: AtomicBool::new(false),
                failed_at: AtomicU64::new(0),
                start: Instant::now(),
                counts: Counts::default(),
                told_of_key: AtomicBool::new(false),
            }),
        }
    }

    /// Sets how many servers share the limits, where that changes while they serve; 0 counts as 1. Where
    /// the number is [learnt](Servers::learnt), it is what is known until they are counted again.
    pub fn set_servers(&self, servers: u64) {
        self.inner.servers.set(servers);
    }

    /// Returns what was answered without the storage so far.
    #[must_use]
    pub fn figures(&self) -> FallbackFigures {
        let inner = &self.inner;
        FallbackFigures {
            degraded: inner.degraded.load(Relaxed),
            servers: inner.servers().get(),
            outages: inner.counts.outages.load(Relaxed),
            closed: inner.counts.closed.load(Relaxed),
            open: inner.counts.open.load(Relaxed),
            local: inner.counts.local.load(Relaxed),
            of_key: inner.counts.of_key.load(Relaxed),
            debts: inner.debts.len(),
            repaid: inner.debts.repaid.load(Relaxed),
            forgiven: inner.debts.forgiven.load(Relaxed),
        }
    }

    /// Decides a request, or has it answered without the storage.
    #[inline]
    fn decide(
        &self,
        request: &ChargeRequest<'_>,
        reply: Reply<Outcome>,
        call: Call,
    ) -> Reply<Outcome> {
        match reply.into_ready() {
            Ok(Ok(outcome)) => {
                self.inner.answered();
                Reply::ready(Ok(outcome))
            }
            Ok(Err(error)) => self.inner.answer(request, error, call),
            Err(pending) => {
                let (inner, owned) = (Arc::clone(&self.inner), OwnedRequest::of(request));
                Reply::pending(async move {
                    match pending.await {
                        Ok(outcome) => {
                            inner.answered();
                            Ok(outcome)
                        }
                        Err(error) => {
                            owned.with(|request| inner.answer(request, error, call)).await
                        }
                    }
                })
            }
        }
    }

    async fn guard<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        call.await
    }

    async fn guard_clear<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        self.inner.debts.clear();
        if let Some(local) = &self.inner.modes.local {
            local.storage.clear().await?;
        }
        call.await
    }
}

guarded_operations!(Fallback);

impl AtomicStorage for Fallback {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.inner.servers.learn_from(&self.inner.storage);
        self.decide(request, self.inner.storage.acquire(request), Call::Acquire)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.decide(request, self.inner.storage.peek(request), Call::Peek)
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        self.inner.storage.refund(refunds, clock)
    }

    /// Forgets the keys here as well, whether or not the storage can.
    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        let shared = self.inner.storage.reset(request);
        self.inner.debts.forget(request);
        let Some(local) = &self.inner.modes.local else {
            return shared;
        };
        match local.storage.reset(request).into_ready() {
            Ok(Ok(())) => shared,
            Ok(Err(error)) => Reply::ready(Err(error)),
            Err(pending) => Reply::pending(async move {
                pending.await?;
                shared.await
            }),
        }
    }

    fn places(&self) -> Option<Arc<dyn PlaceStorage>> {
        let (inner, places) = (Arc::clone(&self.inner), self.inner.storage.places()?);
        Some(Arc::new(FallbackPlaces::new(inner, places)))
    }

    forwarded_facts!();
}

impl Inner {
    fn servers(&self) -> NonZeroU64 {
        self.servers.count()
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Takes note of a call that failed: the first one is told of, the others are counted.
    fn failed(&self, error: &StorageError) {
        if error.is_of_key() {
            self.count(&self.counts.of_key);
            if !self.told_of_key.swap(true, Relaxed) {
                tracing::error!(%error, "the storage answers for other keys, but not for this one");
            }
            return;
        }
        self.failed_at.fetch_max(self.elapsed(), Relaxed);
        if self.degraded.load(Relaxed) || self.degraded.swap(true, Relaxed) {
            return;
        }
        self.count(&self.counts.outages);
        tracing::warn!(%error, modes = ?self.modes, "the storage fails: its rules go by their modes");
        self.modes.observers.tell(&FallbackChange::Degraded { error: error.to_string() });
    }

    /// Takes note of a call that went well.
    #[inline]
    fn answered(self: &Arc<Self>) {
        if self.degraded.load(Relaxed) {
            self.recover();
        }
    }

    #[cold]
    fn recover(self: &Arc<Self>) {
        if !self.debts.is_empty() {
            self.repay_in_background();
        } else if !self.repaying.load(Relaxed)
            && self.is_calm()
            && self.degraded.swap(false, Relaxed)
        {
            let figures = (&self.debts.repaid, &self.debts.forgiven);
            tracing::info!(repaid = ?figures.0, forgiven = ?figures.1, "the storage is back");
            self.modes.observers.tell(&FallbackChange::Restored);
        }
    }

    fn is_calm(&self) -> bool {
        let calm = u64::try_from(CALM.as_micros()).unwrap_or(u64::MAX);
        self.elapsed().saturating_sub(self.failed_at.load(Relaxed)) >= calm
    }

    fn repay_in_background(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.debts.clear(); // there is no background
            return;
        };
        if !self.repaying.swap(true, Relaxed) {
            let repaying = Repaying(Arc::clone(self));
            runtime.spawn(async move {
                repay::repay(Arc::clone(&repaying.0)).await;
            });
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Says that debts are being charged, until it is dropped: also when the runtime ends the task.
struct Repaying(Arc<Inner>);

impl Drop for Repaying {
    fn drop(&mut self) {
        self.0.repaying.store(false, Relaxed);
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("storage", &self.inner.storage.kind())
            .field("modes", &self.inner.modes)
            .field("figures", &self.figures())
            .finish()
    }
}
