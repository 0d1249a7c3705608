//! The storage that the fleet shares: memory with a counter of calls and a simulated round trip.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ratethrottle::{
    MemoryStorage, Storage,
    engine::{Clock, Outcome},
    storage::{AtomicStorage, ChargeRequest, Refund, Reply, Scope, Wrapper},
};

/// A storage that counts its calls; clones share the counter.
#[derive(Clone)]
pub(crate) struct Counted {
    memory: Arc<dyn AtomicStorage>,
    calls: Arc<AtomicU64>,
    /// The latency in each direction.
    latency: Duration,
}

impl Counted {
    /// Creates an empty storage with a round trip time.
    pub(crate) fn new(round_trip: Duration) -> Self {
        let memory = Arc::new(MemoryStorage::new()).atomic();
        Self { memory, calls: Arc::default(), latency: round_trip / 2 }
    }

    /// Returns the number of calls.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    fn count(&self) -> bool {
        self.calls.fetch_add(1, Relaxed);
        self.latency.is_zero()
    }

    fn later<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn AtomicStorage) -> Reply<T> + Send + 'static,
    ) -> Reply<T> {
        let (memory, latency) = (Arc::clone(&self.memory), self.latency);
        Reply::pending(async move {
            tokio::time::sleep(latency).await;
            let output = call(&*memory).await;
            tokio::time::sleep(latency).await;
            output
        })
    }
}

impl Wrapper for Counted {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.memory
    }

    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        if self.count() {
            return self.memory.acquire(request);
        }
        let owned = request.to_owned();
        self.later(move |memory| owned.with(|request| memory.acquire(request)))
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        if self.count() {
            return self.memory.peek(request);
        }
        let owned = request.to_owned();
        self.later(move |memory| owned.with(|request| memory.peek(request)))
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        if self.count() {
            return self.memory.refund(refunds, clock);
        }
        let owned: Vec<_> =
            refunds.iter().map(|one| (one.charge().to_owned(), one.receipt())).collect();
        let clock = clock.cloned();
        self.later(move |memory| {
            let refunds: Vec<_> =
                owned.iter().map(|(charge, by)| Refund::new(charge.borrow(), *by)).collect();
            memory.refund(&refunds, clock.as_ref())
        })
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        self.count();
        self.memory.reset(request)
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn kind(&self) -> &str {
        "counted"
    }
}
