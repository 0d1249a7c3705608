//! The values of the six operations.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use moka::{
    Expiry,
    ops::compute::{CompResult, Op},
    sync::Cache,
};
use throttle_core::{StorageError, Value};

/// The values, in a cache that expires each at its own time.
pub(crate) struct Values {
    max_entries: usize,
    /// Created on the first use, because limiters do not use it and it is not small.
    cache: OnceLock<Cache<String, Entry, ahash::RandomState>>,
}

#[derive(Clone)]
struct Entry {
    value: Value,
    lifetime: Lifetime,
}

#[derive(Copy, Clone)]
enum Lifetime {
    /// A new lifetime, which starts now.
    New(Option<Duration>),
    /// The lifetime of the existing value.
    Kept,
}

impl Values {
    pub(crate) fn new(max_entries: usize) -> Self {
        Self { max_entries, cache: OnceLock::new() }
    }

    fn cache(&self) -> &Cache<String, Entry, ahash::RandomState> {
        self.cache.get_or_init(|| {
            Cache::builder()
                .max_capacity(self.max_entries as u64)
                .expire_after(ByEntry)
                .build_with_hasher(ahash::RandomState::new())
        })
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        self.cache().get(key).map(|entry| entry.value)
    }

    pub(crate) fn set(&self, key: &str, value: Value, ttl: Option<Duration>) {
        self.cache().insert(key.to_owned(), Entry { value, lifetime: Lifetime::New(ttl) });
    }

    pub(crate) fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let mut sum = 0;
        let done = self.cache().entry_by_ref(key).and_try_compute_with(|entry| {
            let (old, lifetime) = match entry {
                Some(entry) => {
                    let old = entry.into_value().value.as_i64();
                    (old.ok_or_else(|| StorageError::not_an_integer(key))?, Lifetime::Kept)
                }
                None => (0, Lifetime::New(ttl)),
            };
            sum = old.checked_add(amount).ok_or_else(|| StorageError::overflow(key))?;
            Ok::<_, StorageError>(Op::Put(Entry { value: sum.into(), lifetime }))
        });
        done.map(|_: CompResult<_, _>| sum)
    }

    pub(crate) fn delete(&self, key: &str) -> bool {
        // Not `remove`, which may return an expired value that the cache has not removed yet.
        let done = self.cache().entry_by_ref(key).and_compute_with(|entry| match entry {
            Some(_) => Op::Remove,
            None => Op::Nop,
        });
        matches!(done, CompResult::Removed(_))
    }

    pub(crate) fn exists(&self, key: &str) -> bool {
        self.cache().contains_key(key)
    }

    /// Removes all values, and returns how many of them had not expired.
    pub(crate) fn clear(&self) -> u64 {
        let keys: Vec<_> = self.cache().iter().map(|(key, _)| key).collect();
        keys.iter().filter(|key| self.delete(key)).count() as u64
    }

    pub(crate) fn len(&self) -> usize {
        let Some(cache) = self.cache.get() else { return 0 };
        cache.run_pending_tasks();
        usize::try_from(cache.entry_count()).unwrap_or(usize::MAX)
    }
}

struct ByEntry;

impl Expiry<String, Entry> for ByEntry {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        match entry.lifetime {
            Lifetime::New(ttl) => ttl,
            Lifetime::Kept => None,
        }
    }

    fn expire_after_update(
        &self,
        _: &String,
        entry: &Entry,
        _: Instant,
        left: Option<Duration>,
    ) -> Option<Duration> {
        match entry.lifetime {
            Lifetime::New(ttl) => ttl,
            Lifetime::Kept => left,
        }
    }
}
