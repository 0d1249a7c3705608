//! Places within one process.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::{
    concurrency::{ConcurrencyKey, ConcurrencyStorage, PermitGuard, PermitReply},
    reply::Reply,
};
use crate::{
    key::Key,
    sharded::{Sharded, shrunk},
};

/// Counts the places of one process; clones share them.
///
/// A key without a place in use takes no memory, so that what it holds is bounded by the requests that
/// are under way.
#[derive(Clone)]
pub struct LocalPermits {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Sharded<Counts>,
    hasher: RandomState,
}

/// How many places of each key are in use; never 0.
type Counts = HashMap<Key<'static>, u64>;

const SHARDS: usize = 32;
/// A map of this capacity does not shrink.
const SMALL: usize = 64;

impl LocalPermits {
    /// Begins with none in use.
    #[must_use]
    pub fn new() -> Self {
        let shards = Sharded::new(SHARDS, |_| Counts::default());
        Self { inner: Arc::new(Inner { shards, hasher: RandomState::new() }) }
    }

    /// Returns how many keys have a place in use.
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

/// Gives a place back when it is dropped.
struct Guard {
    inner: Arc<Inner>,
    shard: usize,
    key: Key<'static>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut counts = self.inner.shards.lock(self.shard);
        // The key is not needed afterwards.
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

    fn take(places: &LocalPermits, name: &str, key: &str, limit: u64) -> PermitReply {
        let key = Key::from(key);
        places.take(&ConcurrencyKey::new(name, &key), limit).into_ready().unwrap().unwrap()
    }

    fn in_use(places: &LocalPermits, name: &str, key: &str) -> u64 {
        let key = Key::from(key);
        places.in_use(&ConcurrencyKey::new(name, &key)).into_ready().unwrap().unwrap()
    }

    #[test]
    fn names_and_keys_are_apart_and_a_dropped_place_is_free() {
        let places = LocalPermits::new();
        let first = take(&places, "a", "k", 1).into_permit().unwrap();
        assert!(take(&places, "a", "k", 1).into_permit().is_none());
        let others = [take(&places, "b", "k", 1), take(&places, "a", "l", 1)];
        assert!(others.iter().all(|taken| taken.in_use() == 1));
        assert_eq!(places.keys(), 3);
        drop((first, others));
        assert_eq!((in_use(&places, "a", "k"), places.keys()), (0, 0));
    }

    #[test]
    fn of_many_threads_never_more_than_the_limit_hold_a_place_and_none_is_left() {
        const LIMIT: u64 = 5;
        let (places, held) = (LocalPermits::new(), AtomicU64::new(0));
        let (most, barrier) = (AtomicU64::new(0), Barrier::new(8));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    for i in 0..20_000 {
                        let taken = take(&places, "uploads", "k", LIMIT);
                        assert!(taken.in_use() <= LIMIT);
                        let Some(place) = taken.into_permit() else { continue };
                        most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                        if i % 3 == 0 {
                            thread::yield_now();
                        }
                        held.fetch_sub(1, SeqCst);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), LIMIT, "eight threads use all places, and no more");
        assert_eq!((in_use(&places, "uploads", "k"), places.keys()), (0, 0));
    }

    #[test]
    fn a_flood_of_keys_gives_its_memory_back() {
        let places = LocalPermits::new();
        let key = |i: u64| format!("a long key that is not kept in place, number {i:06}");
        let held: Vec<_> = (0..100_000).map(|i| take(&places, "a", &key(i), 1)).collect();
        assert_eq!(places.keys(), 100_000);
        drop(held);
        let room: usize = places.inner.shards.each().map(|counts| counts.capacity()).sum();
        assert!(places.keys() == 0 && room <= SHARDS * 2 * SMALL, "room for {room}");
    }
}
