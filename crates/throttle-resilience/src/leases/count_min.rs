//! Which keys are asked for often: counted without remembering the keys.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use throttle_core::Micros;

/// Counts what comes in the current second, in a fixed number of places that keys share: a key counts
/// as often as it came, or oftener.
pub(super) struct Sketch {
    places: Box<[AtomicU64]>,
}

const BITS: u32 = 14;
const SECOND: u64 = 1_000_000;

impl Sketch {
    pub(super) fn new() -> Self {
        Self { places: (0..2_usize << BITS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts a request, and returns how many of its key there were in this second, at most.
    pub(super) fn count(&self, hash: u64, now: Micros) -> u64 {
        let second = (now.get() / SECOND) as u32; // whichever second it is, it is another one
        let mask = (1 << BITS) - 1;
        let rows = [hash & mask, (1 << BITS) + (hash >> 32 & mask)];
        let counts = rows.map(|row| bump(&self.places[row as usize], second));
        counts.into_iter().min().unwrap_or(0)
    }
}

/// Adds 1 to a place, which begins anew in another second. Two that count at once may count as one.
fn bump(place: &AtomicU64, second: u32) -> u64 {
    let old = place.load(Relaxed);
    let count = if (old >> 32) as u32 == second { old & 0xffff_ffff } else { 0 };
    let count = (count + 1).min(0xffff_ffff);
    place.store(u64::from(second) << 32 | count, Relaxed);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_counted_in_its_second_and_others_hardly_disturb_it() {
        let sketch = Sketch::new();
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let now = Micros::new(5_500_000);
        for key in 0..1_000_u64 {
            sketch.count(hasher.hash_one(key), now);
        }
        let hot = hasher.hash_one("hot");
        let counts: Vec<_> = (0..50).map(|_| sketch.count(hot, now)).collect();
        assert!(counts[49] >= 50 && counts[49] < 60, "{counts:?}");
        assert_eq!(sketch.count(hot, Micros::new(6_000_000)), 1, "a new second");
        let over = (1_000..2_000_u64).filter(|key| sketch.count(hasher.hash_one(key), now) > 5);
        assert!(over.count() < 5);
    }
}
