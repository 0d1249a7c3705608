//! Eviction: the choice of a slot to remove from a full shard.
//!
//! It is a sampled least-frequently-used policy with aging, similar to the policy of Redis
//! (<https://redis.io/docs/latest/develop/reference/eviction/>). It also considers when the state of a slot expires,
//! and whether its key is being limited.

use hashbrown::HashTable;
use throttle_core::Micros;

use crate::slot::{LFU_MAX, LFU_NEW, Slot};

/// The number of random slots that are compared.
const SAMPLE: usize = 8;
/// The number of buckets to examine if the whole sample is denied or blocked. At least 7/16 of the buckets have a slot.
/// Even if nine of ten slots are blocked, an unblocked one is missed only once in 300,000 times.
const MAX_PROBES: usize = 256;

/// The state of the eviction policy of a shard.
pub(crate) struct Eviction {
    /// The state of the random number generator; not zero.
    random: u64,
    /// The number of slots created, modulo 2^32.
    made: u32,
}

impl Eviction {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: seed | 1, made: 0 }
    }

    /// Returns the number of the next slot that is created.
    pub(crate) fn number(&mut self) -> u32 {
        self.made = self.made.wrapping_add(1);
        self.made
    }

    /// Selects the slot to evict, or `None` if the current request uses all slots in the sample.
    pub(crate) fn pick(
        &mut self,
        slots: &mut HashTable<Slot>,
        in_use: &[usize],
        now: Micros,
    ) -> Option<usize> {
        if slots.is_empty() {
            return None;
        }
        let sample: [usize; SAMPLE] = std::array::from_fn(|_| random_slot(slots, &mut self.random));
        let free = sample.iter().copied().filter(|index| !in_use.contains(index));
        let picked = free.min_by_key(|index| self.rank(slots, *index, now))?;
        let (lfu, _) = self.rank(slots, picked, now);
        if lfu > LFU_MAX {
            return Some(self.probe_further(slots, picked, in_use, now));
        }
        // The sample ages only if it had no slot that was used once. A flood of new keys evicts such slots, and must
        // not age the keys in use.
        if lfu > LFU_NEW {
            for index in sample {
                if let Some(slot) = slots.get_bucket_mut(index)
                    && slot.key.lfu <= LFU_MAX
                {
                    slot.key.lfu = slot.key.lfu.saturating_sub(1);
                }
            }
        }
        Some(picked)
    }

    /// Returns the rank of a slot; the lowest is evicted.
    ///
    /// The rank is the use count, and among equals the time of expiry. Denied and blocked slots rank by their age
    /// instead: a flood of keys that become blocked then evicts its own keys, and not those blocked before it.
    fn rank(&self, slots: &HashTable<Slot>, index: usize, now: Micros) -> (u8, u64) {
        match slots.get_bucket(index) {
            Some(slot) if slot.expires <= now => (0, 0),
            Some(slot) if slot.key.lfu > LFU_MAX => {
                (slot.key.lfu, u64::from(self.made.wrapping_sub(slot.key.made)))
            }
            Some(slot) => (slot.key.lfu, slot.expires.get()),
            None => (0, 0),
        }
    }

    /// Searches for a slot that is neither denied nor blocked, starting at `picked`. If none is found, returns the slot
    /// with the lowest rank.
    #[cold]
    fn probe_further(
        &self,
        slots: &HashTable<Slot>,
        picked: usize,
        in_use: &[usize],
        now: Micros,
    ) -> usize {
        let buckets = slots.num_buckets();
        let mut least = (self.rank(slots, picked, now), picked);
        for index in (1..MAX_PROBES.min(buckets)).map(|step| (picked + step) % buckets) {
            if slots.get_bucket(index).is_none() || in_use.contains(&index) {
                continue;
            }
            least = least.min((self.rank(slots, index, now), index));
            if least.0.0 <= LFU_MAX {
                break;
            }
        }
        least.1
    }
}

/// Returns the index of a random slot. The table is not empty, and usually about half of its buckets have a slot.
fn random_slot(slots: &HashTable<Slot>, random: &mut u64) -> usize {
    const TRIES: usize = 16;
    let buckets = slots.num_buckets();
    let mut index = 0;
    for _ in 0..TRIES {
        index = (next(random) % buckets as u64) as usize;
        if slots.get_bucket(index).is_some() {
            return index;
        }
    }
    while slots.get_bucket(index).is_none() {
        index = (index + 1) % buckets;
    }
    index
}

/// Returns the next number of a xorshift generator (Marsaglia 2003, doi:10.18637/jss.v008.i14).
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}
