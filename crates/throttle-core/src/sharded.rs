//! A table that is split into shards with separate locks, so that threads rarely wait for each other.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

/// A table that is split into shards; the hash of a key selects the shard.
///
/// No user code may run under the lock of a shard. If a panic poisons the lock, the shard is used as it is.
pub struct Sharded<T> {
    shards: Box<[Padded<T>]>,
}

/// A lock with its own cache lines, so that threads on different shards do not slow each other down.
#[repr(align(128))]
struct Padded<T>(Mutex<T>);

impl<T> Sharded<T> {
    /// Creates `count` shards, at least one; `shard` creates each from its index.
    #[must_use]
    pub fn new(count: usize, mut shard: impl FnMut(usize) -> T) -> Self {
        let shards = (0..count.max(1)).map(|index| Padded(Mutex::new(shard(index))));
        Self { shards: shards.collect() }
    }

    /// Returns the index of the shard for a hash.
    ///
    /// The highest bits of the hash select it, so that the maps inside the shards can use the same hash: they
    /// distinguish their keys by the other bits.
    #[inline]
    #[must_use]
    pub fn index_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.shards.len() as u128) >> 64) as usize
    }

    /// Locks the shard at an index that [`index_of`](Self::index_of) returned.
    #[inline]
    pub fn lock(&self, index: usize) -> MutexGuard<'_, T> {
        self.shards[index].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the shard `number` modulo the number of shards, unless another thread holds it.
    #[must_use]
    pub fn try_lock(&self, number: usize) -> Option<MutexGuard<'_, T>> {
        match self.shards[number % self.shards.len()].0.try_lock() {
            Ok(shard) => Some(shard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Sweeps the shard `number` modulo the number of shards, or the caller's own shard `own` if that is the same one
    /// or is locked by another thread.
    #[cold]
    pub fn sweep(&self, number: usize, own: &mut T, sweep: impl FnOnce(&mut T)) {
        match self.try_lock(number) {
            Some(mut other) => sweep(&mut other),
            None => sweep(own),
        }
    }

    /// Returns an iterator that locks every shard, one at a time.
    pub fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        (0..self.shards.len()).map(|index| self.lock(index))
    }
}

impl<T> fmt::Debug for Sharded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharded").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

/// The schedule of sweeps by the calls on a shard. The calls sweep one shard after the other, so they also reach
/// shards that are no longer used.
#[derive(Default, Debug)]
pub struct DueSweeps {
    calls: u32,
}

impl DueSweeps {
    /// Counts a call. Every `every` calls it returns the number of the sweep that is due.
    #[inline]
    pub fn next(&mut self, every: u32) -> Option<usize> {
        self.calls = self.calls.wrapping_add(1);
        self.calls.is_multiple_of(every).then_some((self.calls / every) as usize)
    }
}

/// Returns the capacity to shrink a map to that holds `len` entries, or `None` if it should keep its capacity.
///
/// A map shrinks when its capacity exceeds both `small` and four times its length. It keeps twice its length, so
/// that a map of a constant size does not shrink and grow repeatedly.
#[inline]
#[must_use]
pub fn shrunk(len: usize, capacity: usize, small: usize) -> Option<usize> {
    (capacity > small.max(4 * len)).then_some(2 * len)
}

#[cfg(test)]
mod tests {
    use std::{hash::BuildHasher, thread};

    use super::*;

    #[test]
    fn every_hash_selects_a_shard_and_every_shard_is_selected() {
        for count in [0, 1, 3, 64] {
            let table = Sharded::new(count, |_| 0_u32);
            let hasher = std::hash::RandomState::new();
            for key in 0..10_000 {
                *table.lock(table.index_of(hasher.hash_one(key))) += 1;
            }
            drop(table.lock(table.index_of(u64::MAX)));
            let picked: Vec<_> = table.each().map(|shard| *shard).collect();
            assert_eq!(picked.len(), count.max(1));
            assert!(picked.iter().all(|times| *times > 50), "{picked:?}");
            assert_eq!(picked.iter().sum::<u32>(), 10_000);
        }
    }

    #[test]
    fn a_panic_under_a_lock_leaves_the_shard_usable() {
        let table = Sharded::new(1, |_| 1);
        let panicked = thread::scope(|scope| {
            scope.spawn(|| std::panic::panic_any(*table.lock(0))).join().is_err()
        });
        assert!(panicked);
        assert_eq!(*table.lock(0), 1);
        assert!(table.try_lock(0).is_some());
    }

    #[test]
    fn try_lock_does_not_wait_for_a_locked_shard() {
        let table = Sharded::new(2, |index| index);
        let _held = table.lock(0);
        let free: Vec<_> =
            (0..4).map(|number| table.try_lock(number).map(|shard| *shard)).collect();
        assert_eq!(free, [None, Some(1), None, Some(1)]);
    }

    #[test]
    fn sweeps_reach_every_free_shard_and_otherwise_the_callers_own() {
        let table = Sharded::new(4, |_| 0);
        let _held = table.lock(2);
        let mut due = DueSweeps::default();
        {
            let mut own = table.lock(1);
            for _ in 0..16 {
                if let Some(number) = due.next(4) {
                    table.sweep(number, &mut own, |sweeps| *sweeps += 1);
                }
            }
            assert_eq!(*own, 2, "its own sweep, and that of the locked shard");
        }
        assert_eq!([0, 3].map(|index| *table.lock(index)), [1, 1]);
    }

    #[test]
    fn a_map_shrinks_when_its_capacity_is_much_larger_than_its_length() {
        assert_eq!(shrunk(0, 64, 64), None);
        assert_eq!(shrunk(0, 65, 64), Some(0));
        assert_eq!(shrunk(100, 400, 64), None);
        assert_eq!(shrunk(100, 401, 64), Some(200));
    }
}
