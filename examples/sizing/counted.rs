//! The storage that the fleet shares: memory that counts its calls, and that may be far away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ratethrottle::{
    MemoryStorage, Storage, StorageError, Value, async_trait,
    concurrency::PlaceStorage,
    engine::{Clock, Outcome},
    storage::{
        AtomicStorage, Charge, ChargeRequest, ListStorage, OwnedCharge, Refund, Reply, Scope,
    },
};

/// Counts what is asked of it; clones share the counts.
#[derive(Clone)]
pub(crate) struct Counted {
    memory: Arc<dyn AtomicStorage>,
    calls: Arc<AtomicU64>,
    /// How long a call is on its way there, and as long on its way back.
    way: Duration,
}

impl Counted {
    /// Begins with a storage that is empty, a round trip away.
    pub(crate) fn new(round_trip: Duration) -> Self {
        let memory = Arc::new(MemoryStorage::new()).atomic();
        Self { memory, calls: Arc::default(), way: round_trip / 2 }
    }

    /// Returns how many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    fn count(&self) -> bool {
        self.calls.fetch_add(1, Relaxed);
        self.way.is_zero()
    }

    fn later<T: Send + Unpin + 'static>(
        &self,
        call: impl FnOnce(&dyn AtomicStorage) -> Reply<T> + Send + 'static,
    ) -> Reply<T> {
        let (memory, way) = (Arc::clone(&self.memory), self.way);
        Reply::pending(async move {
            tokio::time::sleep(way).await;
            let answer = call(&*memory).await;
            tokio::time::sleep(way).await;
            answer
        })
    }
}

/// The charges and the clock of a request that outlives its caller.
struct Owned {
    charges: Vec<OwnedCharge>,
    clock: Option<Arc<dyn Clock>>,
}

impl Owned {
    fn of(request: &ChargeRequest<'_>) -> Self {
        let charges = request.charges().iter().copied().map(Charge::to_owned).collect();
        Self { charges, clock: request.clock().cloned() }
    }

    fn with<T>(&self, call: impl FnOnce(&ChargeRequest<'_>) -> T) -> T {
        let charges: Vec<Charge<'_>> = self.charges.iter().map(OwnedCharge::borrow).collect();
        call(&ChargeRequest::new(&charges, self.clock.as_ref()))
    }
}

impl AtomicStorage for Counted {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        if self.count() {
            return self.memory.acquire(request);
        }
        let owned = Owned::of(request);
        self.later(move |memory| owned.with(|request| memory.acquire(request)))
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        if self.count() {
            return self.memory.peek(request);
        }
        let owned = Owned::of(request);
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

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        self.count();
        self.memory.reset(request)
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        self.memory.lists()
    }

    fn places(&self) -> Option<Arc<dyn PlaceStorage>> {
        self.memory.places()
    }

    fn kind(&self) -> &str {
        "counted"
    }
}

#[async_trait]
impl Storage for Counted {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        self.memory.get(key).await
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        self.memory.set(key, value, ttl).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        self.memory.increment(key, amount, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.memory.delete(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.memory.exists(key).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.memory.clear().await
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}
