//! A part of the slots, behind one lock.

use indexmap::IndexMap;
use throttle_core::{Micros, State};

use crate::{
    eviction::{self, HOTTEST},
    key::{Hashed, SlotKey, SlotRef},
};

/// Holds up to `capacity` slots; all work on it is done under its lock.
pub(crate) struct Shard {
    pub(crate) slots: IndexMap<SlotKey, Slot, Hashed>,
    pub(crate) random: u64,
    capacity: usize,
    work: u32,
    hand: usize,
}

/// Holds the state of one key under one rule.
#[derive(Default, Debug)]
pub(crate) struct Slot {
    pub(crate) state: State,
    /// When the state no longer matters, by the machine's clock.
    pub(crate) expires: Micros,
    /// How much it is worth keeping: grows with use, falls under pressure.
    pub(crate) heat: u8,
}

/// How often, in calls, expired slots are looked for, and how many are looked at.
const SWEEP_EVERY: u32 = 32;
const SWEEP: usize = 8;
/// How long a slot must have been expired: a client that is at work keeps its slot.
const IDLE: Micros = Micros::new(10_000_000);
/// A map this much larger than what it holds gives its memory back.
const SPARE: usize = 4;
const SMALL: usize = 1024;

impl Shard {
    pub(crate) fn new(capacity: usize, seed: u64) -> Self {
        Self { slots: IndexMap::default(), random: seed | 1, capacity, work: 0, hand: 0 }
    }

    /// Finds a slot.
    pub(crate) fn find(&self, key: &SlotRef<'_>) -> Option<usize> {
        self.slots.get_index_of(key)
    }

    /// Finds a slot, or makes one.
    pub(crate) fn find_or_insert(&mut self, key: &SlotRef<'_>, now: Micros) -> &mut Slot {
        let place = self.find(key).unwrap_or_else(|| self.insert(key, &[], now));
        &mut self.slots[place]
    }

    /// Makes a slot for a key that has none; when the shard is full, in the place of another that is
    /// not in use by the same request.
    pub(crate) fn insert(&mut self, key: &SlotRef<'_>, in_use: &[usize], now: Micros) -> usize {
        let slot = Slot { expires: now, ..Slot::default() };
        if self.slots.len() >= self.capacity
            && let Some(place) = eviction::pick(self, in_use, now)
            && self.slots.replace_index(place, key.to_slot_key()).is_ok()
        {
            self.slots[place] = slot;
            return place;
        }
        self.slots.insert_full(key.to_slot_key(), slot).0
    }

    /// Clears some expired slots away; moves slots, so that no index is valid after it.
    pub(crate) fn sweep(&mut self, now: Micros) {
        self.work = self.work.wrapping_add(1);
        if !self.work.is_multiple_of(SWEEP_EVERY) {
            return;
        }
        for _ in 0..SWEEP {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            match self.slots.get_index(self.hand) {
                Some((_, slot)) if slot.expires.plus(IDLE) <= now => {
                    self.slots.swap_remove_index(self.hand);
                }
                _ => self.hand += 1,
            }
        }
        let len = self.slots.len();
        if self.slots.capacity() > SMALL.max(SPARE * len) {
            self.slots.shrink_to(2 * len);
        }
    }
}

impl Slot {
    /// Notes that the slot was used, and until when it matters.
    pub(crate) fn used(&mut self, allowed: bool, expires: Micros) {
        self.expires = expires;
        self.heat = if allowed { (self.heat + 1).min(HOTTEST / 4) } else { HOTTEST };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throttle_core::{Charge, Key, Rule};

    use super::*;

    fn at(secs: u64) -> Micros {
        Micros::new(secs * 1_000_000)
    }

    fn filled(shard: &mut Shard, keys: usize, expires: Micros) {
        let rule = Arc::new(Rule::per_second("r", 1).check().unwrap());
        let hasher = ahash::RandomState::new();
        for key in 0..keys {
            let key = Key::from(key.to_string());
            let charge = Charge::new(&key, &rule, 1);
            let place = shard.insert(&SlotRef::of(&charge, &hasher), &[], at(0));
            shard.slots[place].expires = expires;
        }
    }

    #[test]
    fn slots_that_no_longer_matter_are_cleared_away_and_their_memory_is_given_back() {
        let mut shard = Shard::new(100_000, 1);
        filled(&mut shard, 50_000, at(60));
        let full = shard.slots.capacity();
        (0..50_000).for_each(|_| shard.sweep(at(69)));
        assert_eq!(shard.slots.len(), 50_000, "they matter, or did a moment ago");
        (0..500_000).for_each(|_| shard.sweep(at(71)));
        assert_eq!(shard.slots.len(), 0);
        assert!(shard.slots.capacity() < full / 10, "{} of {full}", shard.slots.capacity());
    }

    #[test]
    fn what_no_longer_matters_goes_first_and_what_is_in_use_never() {
        let mut shard = Shard::new(8, 7);
        filled(&mut shard, 8, at(60));
        for place in 1..8 {
            shard.slots[place].used(false, at(60));
        }
        shard.slots[0].used(false, at(5)); // expired, though as hot as the others
        let picks: Vec<_> =
            (0..100).filter_map(|_| eviction::pick(&mut shard, &[3], at(10))).collect();
        assert!(picks.iter().filter(|place| **place == 0).count() > 50, "{picks:?}");
        assert!(!picks.contains(&3));
        let all: Vec<_> = (0..8).collect();
        assert_eq!(eviction::pick(&mut shard, &all, at(10)), None);
    }
}
