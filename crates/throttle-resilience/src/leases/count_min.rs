//! A count-min sketch of requests per key: finds hot keys without storing keys.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use throttle_core::Micros;

/// Counters of the current second, shared by all keys. A key's count is exact or too high, never
/// too low: a collision can only make a key look hot early.
pub(super) struct CountMin {
    counters: Box<[AtomicU64]>,
}

const BITS: u32 = 14;
const SECOND: u64 = 1_000_000;

impl CountMin {
    pub(super) fn new() -> Self {
        Self { counters: (0..2_usize << BITS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts a request, and returns an upper bound of its key's requests in this second.
    pub(super) fn count(&self, hash: u64, now: Micros) -> u64 {
        let second = (now.get() / SECOND) as u32; // may wrap: only equality matters
        let mask = (1 << BITS) - 1;
        let rows = [hash & mask, (1 << BITS) + (hash >> 32 & mask)];
        let counts = rows.map(|row| bump(&self.counters[row as usize], second));
        counts.into_iter().min().unwrap_or(0)
    }
}

/// Adds 1 to a counter, which restarts in each second. Two concurrent calls may count as one; that
/// only delays a lease.
fn bump(counter: &AtomicU64, second: u32) -> u64 {
    let old = counter.load(Relaxed);
    let count = if (old >> 32) as u32 == second { old & 0xffff_ffff } else { 0 };
    let count = (count + 1).min(0xffff_ffff);
    counter.store(u64::from(second) << 32 | count, Relaxed);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_counted_per_second_with_few_collisions() {
        let count_min = CountMin::new();
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let now = Micros::new(5_500_000);
        for key in 0..1_000_u64 {
            count_min.count(hasher.hash_one(key), now);
        }
        let hot = hasher.hash_one("hot");
        let counts: Vec<_> = (0..50).map(|_| count_min.count(hot, now)).collect();
        assert!(counts[49] >= 50 && counts[49] < 60, "{counts:?}");
        assert_eq!(count_min.count(hot, Micros::new(6_000_000)), 1, "a new second");
        let over = (1_000..2_000_u64).filter(|key| count_min.count(hasher.hash_one(key), now) > 5);
        assert!(over.count() < 5);
    }
}
