//! Which slot goes when a shard is full.
//!
//! A sampled least-frequently-used policy with aging, such as Redis has
//! (<https://redis.io/docs/latest/develop/reference/eviction/>), over slots that know when they stop
//! to matter and whether they are being limited.

use hashbrown::HashTable;
use throttle_core::Micros;

use crate::slot::{LFU_NEW, Slot, WARM};

const SAMPLE: usize = 8;
/// How many places are looked at where all of the sample are denied or blocked. At least 7/16 of them hold a
/// slot, so that even if nine of ten slots are blocked, one that is not is found but for one time in 300,000.
const FURTHER: usize = 256;

/// What picks the slots that go.
pub(crate) struct Eviction {
    /// The state of the generator, not zero.
    random: u64,
    /// How many slots were made, modulo 2^32.
    made: u32,
}

impl Eviction {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: seed | 1, made: 0 }
    }

    /// Returns the number of the next slot that is made.
    pub(crate) fn number(&mut self) -> u32 {
        self.made = self.made.wrapping_add(1);
        self.made
    }

    /// Picks the slot that is missed least; none when all that were looked at are in use.
    pub(crate) fn pick(
        &mut self,
        slots: &mut HashTable<Slot>,
        in_use: &[usize],
        now: Micros,
    ) -> Option<usize> {
        if slots.is_empty() {
            return None;
        }
        let sample: [usize; SAMPLE] = std::array::from_fn(|_| any_place(slots, &mut self.random));
        let free = sample.iter().copied().filter(|place| !in_use.contains(place));
        let picked = free.min_by_key(|place| self.worth(slots, *place, now))?;
        let (lfu, _) = self.worth(slots, picked, now);
        if lfu > WARM {
            return Some(self.look_further(slots, picked, in_use, now));
        }
        // Slots that were used once are no pressure on the others: a flood of fresh keys cools nobody.
        if lfu > LFU_NEW {
            for place in sample {
                if let Some(slot) = slots.get_bucket_mut(place)
                    && slot.key.lfu <= WARM
                {
                    slot.key.lfu = slot.key.lfu.saturating_sub(1);
                }
            }
        }
        Some(picked)
    }

    /// Returns how much a slot is worth: its use count, and of equals the later end. Of those that are denied or
    /// blocked it is the age: a flood of keys that get themselves blocked displaces its own.
    fn worth(&self, slots: &HashTable<Slot>, place: usize, now: Micros) -> (u8, u64) {
        match slots.get_bucket(place) {
            Some(slot) if slot.expires <= now => (0, 0),
            Some(slot) if slot.key.lfu > WARM => {
                (slot.key.lfu, u64::from(self.made.wrapping_sub(slot.key.made)))
            }
            Some(slot) => (slot.key.lfu, slot.expires.get()),
            None => (0, 0),
        }
    }

    /// Looks for a slot that is neither denied nor blocked from a picked place on; where there is none, returns
    /// the least of those that it saw.
    #[cold]
    fn look_further(
        &self,
        slots: &HashTable<Slot>,
        picked: usize,
        in_use: &[usize],
        now: Micros,
    ) -> usize {
        let buckets = slots.num_buckets();
        let mut least = (self.worth(slots, picked, now), picked);
        for place in (1..FURTHER.min(buckets)).map(|step| (picked + step) % buckets) {
            if slots.get_bucket(place).is_none() || in_use.contains(&place) {
                continue;
            }
            least = least.min((self.worth(slots, place, now), place));
            if least.0.0 <= WARM {
                break;
            }
        }
        least.1
    }
}

/// Returns a random place that holds a slot; there is one, and mostly every other place does.
fn any_place(slots: &HashTable<Slot>, random: &mut u64) -> usize {
    const TRIES: usize = 16;
    let buckets = slots.num_buckets();
    let mut place = 0;
    for _ in 0..TRIES {
        place = (next(random) % buckets as u64) as usize;
        if slots.get_bucket(place).is_some() {
            return place;
        }
    }
    while slots.get_bucket(place).is_none() {
        place = (place + 1) % buckets;
    }
    place
}

/// Steps a xorshift generator (Marsaglia 2003, doi:10.18637/jss.v008.i14).
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}
