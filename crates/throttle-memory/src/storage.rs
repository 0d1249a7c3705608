//! The in-memory storage.

use std::{fmt, sync::Arc, time::Duration};

use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, ConcurrencyStorage, ListStorage, LocalPermits, Outcome,
    Refund, Reply, Scope, Storage, StorageError, Value, async_trait,
};

use crate::{slots::Slots, values::Values};

/// A storage in the memory of this process. Clones share it.
///
/// It answers at once, and never fails. The [crate documentation](crate) describes eviction and expiry.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_memory::*; }
/// use ratethrottle::{Limiter, MemoryStorage, Rule};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::new(MemoryStorage::builder().max_entries(100_000).build());
/// limiter.add_rule(Rule::per_minute("api", 100))?;
/// assert_eq!(limiter.check("user:42", "api").await?.remaining(), 99);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryStorage {
    inner: Arc<Inner>,
}

struct Inner {
    slots: Slots,
    values: Values,
    permits: LocalPermits,
}

/// A builder for a [`MemoryStorage`] with options.
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryStorageBuilder {
    max_entries: usize,
}

impl MemoryStorage {
    /// Creates an empty storage for up to a million entries.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns a builder for a storage with options.
    pub fn builder() -> MemoryStorageBuilder {
        MemoryStorageBuilder { max_entries: 1_000_000 }
    }

    /// Returns the number of entries: keys under rules, and values. It includes expired entries that were not removed
    /// yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.slots.len() + self.inner.values.len()
    }

    /// Returns whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl MemoryStorageBuilder {
    /// Sets the maximum number of keys under rules and, separately, of values of the six operations; default one
    /// million. 0 counts as 1.
    pub fn max_entries(mut self, max_entries: usize) -> Self {
        self.max_entries = max_entries.max(1);
        self
    }

    /// Creates the storage.
    #[must_use]
    pub fn build(self) -> MemoryStorage {
        let slots = Slots::new(self.max_entries);
        let values = Values::new(self.max_entries);
        let permits = LocalPermits::new();
        MemoryStorage { inner: Arc::new(Inner { slots, values, permits }) }
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        Ok(self.inner.values.get(key))
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        self.inner.values.set(key, value, ttl);
        Ok(())
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        self.inner.values.increment(key, amount, ttl)
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.inner.values.delete(key))
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.inner.values.exists(key))
    }

    /// Removes all values and all counts, but not the permits of requests in flight.
    async fn clear(&self) -> Result<u64, StorageError> {
        Ok(self.inner.values.clear() + self.inner.slots.clear())
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}

impl AtomicStorage for MemoryStorage {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        Reply::ready(Ok(self.inner.slots.acquire(request)))
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        Reply::ready(Ok(self.inner.slots.peek(request)))
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        self.inner.slots.refund(refunds, clock);
        Reply::ready(Ok(()))
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        Reply::ready(Ok(self.inner.slots.reset(request)))
    }

    fn scope(&self) -> Scope {
        Scope::Process
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        None // no other process could read them
    }

    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        Some(Arc::new(self.inner.permits.clone()))
    }

    fn kind(&self) -> &str {
        "memory"
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("len", &self.len()).finish_non_exhaustive()
    }
}
