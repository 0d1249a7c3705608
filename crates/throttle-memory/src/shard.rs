//! A part of the slots, behind one lock.

use hashbrown::HashTable;
use throttle_core::{
    Micros, State,
    sharded::{DueSweeps, shrunk},
};

use crate::{eviction::Eviction, key::SlotRef, slot::Slot};

/// Holds up to `capacity` slots; all work on it is done under its lock.
///
/// A place is the number of a bucket of the table: valid until a slot is added for which no room was
/// made, or slots are cleared away.
pub(crate) struct Shard {
    pub(crate) slots: HashTable<Slot>,
    eviction: Eviction,
    capacity: usize,
    due_sweeps: DueSweeps,
    hand: usize,
}

/// How often, in calls, expired slots are looked for, and how many are looked at.
const SWEEP_EVERY: u32 = 32;
const SWEEP: usize = 16; // of which about half are empty
/// How long a slot must have been expired: a client that is at work keeps its slot.
const IDLE: Micros = Micros::new(10_000_000);
/// A map of this capacity does not shrink.
const SMALL: usize = 1024;

impl Shard {
    pub(crate) fn new(capacity: usize, seed: u64) -> Self {
        let eviction = Eviction::new(seed);
        let due_sweeps = DueSweeps::default();
        Self { slots: HashTable::new(), eviction, capacity, due_sweeps, hand: 0 }
    }

    /// Finds a slot.
    #[inline]
    pub(crate) fn find(&self, key: &SlotRef<'_>) -> Option<usize> {
        self.slots.find_bucket_index(key.hash(), |slot| key.is(&slot.key))
    }

    /// Finds a slot, or makes one.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, key: &SlotRef<'_>, now: Micros) -> &mut Slot {
        let place = match self.find(key) {
            Some(place) => place,
            None => self.insert(key, &[], now),
        };
        self.slot(place)
    }

    /// Returns the slot at a place.
    #[inline]
    pub(crate) fn slot(&mut self, place: usize) -> &mut Slot {
        self.slots.get_bucket_mut(place).expect("a place is valid while its shard is held")
    }

    /// Makes room, so that so many slots can be added and no place changes.
    pub(crate) fn reserve(&mut self, additional: usize) {
        self.slots.reserve(additional, |slot| slot.key.hash());
    }

    /// Makes a slot for a key that has none; when the shard is full, in the place of another that is
    /// not in use by the same request.
    #[cold]
    pub(crate) fn insert(&mut self, key: &SlotRef<'_>, in_use: &[usize], now: Micros) -> usize {
        if self.slots.len() >= self.capacity
            && let Some(place) = self.eviction.pick(&mut self.slots, in_use, now)
        {
            self.remove(place);
        }
        let mut slot = Slot { key: key.to_slot_key(), state: State::default(), expires: now };
        slot.key.made = self.eviction.number();
        self.slots.insert_unique(key.hash(), slot, |slot| slot.key.hash()).bucket_index()
    }

    /// Forgets the slot at a place.
    pub(crate) fn remove(&mut self, place: usize) {
        if let Ok(slot) = self.slots.get_bucket_entry(place) {
            slot.remove();
        }
    }

    /// Counts a call, and returns the number of a sweep when one is due.
    #[inline]
    pub(crate) fn due_sweep(&mut self) -> Option<usize> {
        self.due_sweeps.next(SWEEP_EVERY)
    }

    /// Clears some expired slots away; no place is valid after it.
    pub(crate) fn sweep(&mut self, now: Micros) {
        for _ in 0..SWEEP {
            if self.hand >= self.slots.num_buckets() {
                self.hand = 0;
            }
            let slot = self.slots.get_bucket(self.hand);
            if slot.is_some_and(|slot| slot.expires.plus(IDLE) <= now) {
                self.remove(self.hand);
            }
            self.hand += 1;
        }
        if let Some(capacity) = shrunk(self.slots.len(), self.slots.capacity(), SMALL) {
            self.slots.shrink_to(capacity, |slot| slot.key.hash());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throttle_core::{Charge, Key, Rule, Verdict};

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
            shard.slot(place).expires = expires;
        }
    }

    #[test]
    fn slots_that_no_longer_matter_are_cleared_away_and_their_memory_is_given_back() {
        let mut shard = Shard::new(100_000, 1);
        filled(&mut shard, 50_000, at(60));
        let full = shard.slots.capacity();
        (0..2_000).for_each(|_| shard.sweep(at(69)));
        assert_eq!(shard.slots.len(), 50_000, "they matter, or did a moment ago");
        (0..20_000).for_each(|_| shard.sweep(at(71)));
        assert_eq!(shard.slots.len(), 0);
        assert!(shard.slots.capacity() < full / 10, "{} of {full}", shard.slots.capacity());
    }

    fn verdict(allowed: bool, blocked: bool) -> Verdict {
        Verdict { allowed, blocked, ..Verdict::default() }
    }

    /// Returns a full shard of slots that were allowed once, and their places.
    fn full(capacity: usize) -> (Shard, Vec<usize>) {
        let mut shard = Shard::new(capacity, 7);
        filled(&mut shard, capacity, at(60));
        let all: Vec<_> = shard.slots.iter_buckets().collect();
        for place in &all {
            shard.slot(*place).used(&verdict(true, false), at(60));
        }
        (shard, all)
    }

    fn pick(shard: &mut Shard, in_use: &[usize]) -> Option<usize> {
        shard.eviction.pick(&mut shard.slots, in_use, at(10))
    }

    #[test]
    fn what_no_longer_matters_goes_first_and_what_is_in_use_never() {
        let (mut shard, all) = full(8);
        shard.slot(all[0]).used(&verdict(false, true), at(5)); // it was blocked, and is not any more
        let picks: Vec<_> = (0..100).filter_map(|_| pick(&mut shard, &all[3..4])).collect();
        assert!(picks.iter().filter(|place| **place == all[0]).count() > 50, "{picks:?}");
        assert!(!picks.contains(&all[3]));
        assert_eq!(pick(&mut shard, &all), None);
    }

    #[test]
    fn a_blocked_slot_goes_after_all_others_and_of_blocked_ones_the_newest() {
        let (mut shard, all) = full(50);
        for place in &all[1..] {
            shard.slot(*place).used(&verdict(false, true), at(60));
        }
        assert_eq!(pick(&mut shard, &[]), Some(all[0]), "it is one of fifty");
        shard.slot(all[1]).used(&verdict(false, false), at(60));
        assert_eq!(pick(&mut shard, &all[..1]), Some(all[1]), "it is denied, and not blocked");
        let made = |place: &usize, shard: &mut Shard| shard.slot(*place).key.made;
        let newest = all[2..].iter().max_by_key(|place| made(place, &mut shard)).copied();
        assert_eq!(pick(&mut shard, &all[..2]), newest);
    }
}
