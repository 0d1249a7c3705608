//! Concurrency permits that are counted in one process.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

use super::{
    concurrency::{ConcurrencyKey, ConcurrencyStorage, PermitGuard, PermitReply},
    reply::Reply,
};
use crate::{
    key::Key,
    sharded::{Sharded, shrunk},
};

/// The concurrency permits of one process. Clones share them.
///
/// A key uses memory only while it has a permit in use, so memory is bounded by the requests in flight.
#[derive(Clone)]
pub struct LocalPermits {
    inner: Arc<Inner>,
}

struct Inner {
    /// Created for the first permit, because most storages have none.
    shards: LazyLock<Sharded<Counts>>,
    hasher: RandomState,
}

/// The number of permits in use for each key; never 0.
type Counts = HashMap<Key<'static>, u64>;

const SHARDS: usize = 32;
/// A map of this capacity does not shrink.
const SMALL: usize = 64;

impl LocalPermits {
    /// Creates a storage with no permits in use.
    #[must_use]
    pub fn new() -> Self {
        let (shards, hasher) = (LazyLock::new(new_shards as fn() -> _), RandomState::new());
        Self { inner: Arc::new(Inner { shards, hasher }) }
    }

    /// Returns the number of keys that have a permit in use.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.inner.shards.each().map(|counts| counts.len()).sum()
    }
}

impl ConcurrencyStorage for LocalPermits {
    fn take(&self, of: &ConcurrencyKey<'_>, limit: u64) -> Reply<PermitReply> {
        let key = of.key().scoped(of.name());
        let shard = self.inner.shard_of(&key);
        let in_use = {
            let mut counts = self.inner.shards.lock(shard);
            let count = counts.get_mut(&key);
            let in_use = count.as_deref().copied().unwrap_or_default();
            if in_use >= limit {
                return Reply::ready(Ok(PermitReply::full(in_use)));
            }
            match count {
                Some(count) => *count += 1,
                None => _ = counts.insert(key.clone(), 1),
            }
            in_use + 1
        };
        let guard = Guard { inner: Arc::clone(&self.inner), shard, key };
        Reply::ready(Ok(PermitReply::permit(PermitGuard::new(guard), in_use)))
    }

    fn in_use(&self, of: &ConcurrencyKey<'_>) -> Reply<u64> {
        let key = of.key().scoped(of.name());
        let counts = self.inner.shards.lock(self.inner.shard_of(&key));
        Reply::ready(Ok(counts.get(&key).copied().unwrap_or_default()))
    }
}

/// A guard that releases its permit when it is dropped.
struct Guard {
    inner: Arc<Inner>,
    shard: usize,
    key: Key<'static>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut counts = self.inner.shards.lock(self.shard);
        // `entry` needs an owned key, and the guard no longer needs its own.
        let key = std::mem::replace(&mut self.key, Key::from(&[][..]));
        if let Entry::Occupied(mut count) = counts.entry(key) {
            if *count.get() > 1 {
                *count.get_mut() -= 1;
                return;
            }
            count.remove();
        }
        if let Some(capacity) = shrunk(counts.len(), counts.capacity(), SMALL) {
            counts.shrink_to(capacity);
        }
    }
}

fn new_shards() -> Sharded<Counts> {
    Sharded::new(SHARDS, |_| Counts::default())
}

impl Inner {
    fn shard_of(&self, key: &Key<'_>) -> usize {
        self.shards.index_of(self.hasher.hash_one(key))
    }
}

impl Default for LocalPermits {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPermits").field("keys", &self.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicU64, Ordering::SeqCst},
        },
        thread,
    };

    use super::*;

    fn take(permits: &LocalPermits, name: &str, key: &str, limit: u64) -> PermitReply {
        let key = Key::from(key);
        permits.take(&ConcurrencyKey::new(name, &key), limit).into_ready().unwrap().unwrap()
    }

    fn in_use(permits: &LocalPermits, name: &str, key: &str) -> u64 {
        let key = Key::from(key);
        permits.in_use(&ConcurrencyKey::new(name, &key)).into_ready().unwrap().unwrap()
    }

    #[test]
    fn names_and_keys_are_counted_separately_and_a_dropped_permit_is_free() {
        let permits = LocalPermits::new();
        let first = take(&permits, "a", "k", 1).into_permit().unwrap();
        assert!(take(&permits, "a", "k", 1).into_permit().is_none());
        let others = [take(&permits, "b", "k", 1), take(&permits, "a", "l", 1)];
        assert!(others.iter().all(|taken| taken.in_use() == 1));
        assert_eq!(permits.keys(), 3);
        drop((first, others));
        assert_eq!((in_use(&permits, "a", "k"), permits.keys()), (0, 0));
    }

    #[test]
    fn many_threads_never_hold_more_permits_than_the_limit_and_release_all() {
        const LIMIT: u64 = 5;
        let (permits, held) = (LocalPermits::new(), AtomicU64::new(0));
        let (most, barrier) = (AtomicU64::new(0), Barrier::new(8));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    for i in 0..20_000 {
                        let taken = take(&permits, "uploads", "k", LIMIT);
                        assert!(taken.in_use() <= LIMIT);
                        let Some(permit) = taken.into_permit() else { continue };
                        most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                        if i % 3 == 0 {
                            thread::yield_now();
                        }
                        held.fetch_sub(1, SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), LIMIT, "eight threads use all permits, and no more");
        assert_eq!((in_use(&permits, "uploads", "k"), permits.keys()), (0, 0));
    }

    #[test]
    fn memory_is_released_after_a_flood_of_keys() {
        let permits = LocalPermits::new();
        let key = |i: u64| format!("a long key that is not stored inline, number {i:06}");
        let held: Vec<_> = (0..100_000).map(|i| take(&permits, "a", &key(i), 1)).collect();
        assert_eq!(permits.keys(), 100_000);
        drop(held);
        let room: usize = permits.inner.shards.each().map(|counts| counts.capacity()).sum();
        assert!(permits.keys() == 0 && room <= SHARDS * 2 * SMALL, "room for {room}");
    }
}
