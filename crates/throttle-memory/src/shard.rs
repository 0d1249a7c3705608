//! A shard of the slots.

use hashbrown::HashTable;
use throttle_core::{
    Micros, State,
    sharded::{DueSweeps, shrunk},
};

use crate::{eviction::Eviction, key::SlotRef, slot::Slot};

/// A shard of at most `capacity` slots, which is used only under its lock.
///
/// An index is the number of a bucket in the table. It is valid until a sweep, or until a slot is added without a
/// preceding [`reserve`](Self::reserve).
pub(crate) struct Shard {
    pub(crate) slots: HashTable<Slot>,
    eviction: Eviction,
    capacity: usize,
    due_sweeps: DueSweeps,
    cursor: usize,
}

/// The number of calls between two sweeps for expired slots.
const SWEEP_EVERY: u32 = 32;
/// The number of buckets that a sweep examines; about half of them are empty.
const SWEEP_SIZE: usize = 16;
/// The time that an expired slot is kept, so that an active client does not need a new one repeatedly.
const GRACE: Micros = Micros::new(10_000_000);
/// The capacity up to which the table does not shrink.
const SMALL: usize = 1024;

impl Shard {
    pub(crate) fn new(capacity: usize, seed: u64) -> Self {
        let eviction = Eviction::new(seed);
        let due_sweeps = DueSweeps::default();
        Self { slots: HashTable::new(), eviction, capacity, due_sweeps, cursor: 0 }
    }

    /// Returns the index of a slot.
    #[inline]
    pub(crate) fn find(&self, key: &SlotRef<'_>) -> Option<usize> {
        self.slots.find_bucket_index(key.hash(), |slot| key.is(&slot.key))
    }

    /// Returns the slot of a key, and creates it if needed.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, key: &SlotRef<'_>, now: Micros) -> &mut Slot {
        let index = match self.find(key) {
            Some(index) => index,
            None => self.insert(key, &[], now),
        };
        self.slot(index)
    }

    /// Returns the slot at an index.
    #[inline]
    pub(crate) fn slot(&mut self, index: usize) -> &mut Slot {
        self.slots.get_bucket_mut(index).expect("an index is valid while its shard is held")
    }

    /// Reserves room for `additional` slots, so that adding them does not change indexes.
    pub(crate) fn reserve(&mut self, additional: usize) {
        self.slots.reserve(additional, |slot| slot.key.hash());
    }

    /// Creates the slot of a key. In a full shard it evicts another slot, but none of those in `in_use`, which belong
    /// to the same request.
    #[cold]
    pub(crate) fn insert(&mut self, key: &SlotRef<'_>, in_use: &[usize], now: Micros) -> usize {
        if self.slots.len() >= self.capacity
            && let Some(index) = self.eviction.pick(&mut self.slots, in_use, now)
        {
            self.remove(index);
        }
        let mut slot = Slot { key: key.to_slot_key(), state: State::default(), expires: now };
        slot.key.made = self.eviction.number();
        self.slots.insert_unique(key.hash(), slot, |slot| slot.key.hash()).bucket_index()
    }

    /// Removes the slot at an index.
    pub(crate) fn remove(&mut self, index: usize) {
        if let Ok(slot) = self.slots.get_bucket_entry(index) {
            slot.remove();
        }
    }

    /// Counts a call, and returns the number of a sweep when one is due.
    #[inline]
    pub(crate) fn due_sweep(&mut self) -> Option<usize> {
        self.due_sweeps.next(SWEEP_EVERY)
    }

    /// Removes expired slots from the next few buckets. It invalidates all indices.
    pub(crate) fn sweep(&mut self, now: Micros) {
        for _ in 0..SWEEP_SIZE {
            if self.cursor >= self.slots.num_buckets() {
                self.cursor = 0;
            }
            let slot = self.slots.get_bucket(self.cursor);
            if slot.is_some_and(|slot| slot.expires.plus(GRACE) <= now) {
                self.remove(self.cursor);
            }
            self.cursor += 1;
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
            let index = shard.insert(&SlotRef::of(&charge, &hasher), &[], at(0));
            shard.slot(index).expires = expires;
        }
    }

    #[test]
    fn expired_slots_are_removed_and_their_memory_is_released() {
        let mut shard = Shard::new(100_000, 1);
        filled(&mut shard, 50_000, at(60));
        let full = shard.slots.capacity();
        (0..2_000).for_each(|_| shard.sweep(at(69)));
        assert_eq!(shard.slots.len(), 50_000, "they are in use, or were a moment ago");
        (0..20_000).for_each(|_| shard.sweep(at(71)));
        assert_eq!(shard.slots.len(), 0);
        assert!(shard.slots.capacity() < full / 10, "{} of {full}", shard.slots.capacity());
    }

    fn verdict(allowed: bool, blocked: bool) -> Verdict {
        Verdict { allowed, blocked, ..Verdict::default() }
    }

    /// Returns a full shard of slots that allowed one request, and their indices.
    fn full(capacity: usize) -> (Shard, Vec<usize>) {
        let mut shard = Shard::new(capacity, 7);
        filled(&mut shard, capacity, at(60));
        let all: Vec<_> = shard.slots.iter_buckets().collect();
        for index in &all {
            shard.slot(*index).record_use(&verdict(true, false), at(60));
        }
        (shard, all)
    }

    fn pick(shard: &mut Shard, in_use: &[usize]) -> Option<usize> {
        shard.eviction.pick(&mut shard.slots, in_use, at(10))
    }

    #[test]
    fn an_expired_slot_is_evicted_first_and_a_slot_in_use_never() {
        let (mut shard, all) = full(8);
        shard.slot(all[0]).record_use(&verdict(false, true), at(5)); // it was blocked, and is not any more
        let picks: Vec<_> = (0..100).filter_map(|_| pick(&mut shard, &all[3..4])).collect();
        assert!(picks.iter().filter(|index| **index == all[0]).count() > 50, "{picks:?}");
        assert!(!picks.contains(&all[3]));
        assert_eq!(pick(&mut shard, &all), None);
    }

    #[test]
    fn blocked_slots_are_evicted_last_and_the_newest_of_them_first() {
        let (mut shard, all) = full(50);
        for index in &all[1..] {
            shard.slot(*index).record_use(&verdict(false, true), at(60));
        }
        assert_eq!(pick(&mut shard, &[]), Some(all[0]), "it is one of fifty");
        shard.slot(all[1]).record_use(&verdict(false, false), at(60));
        assert_eq!(pick(&mut shard, &all[..1]), Some(all[1]), "it is denied, and not blocked");
        let made = |index: &usize, shard: &mut Shard| shard.slot(*index).key.made;
        let newest = all[2..].iter().max_by_key(|index| made(index, &mut shard)).copied();
        assert_eq!(pick(&mut shard, &all[..2]), newest);
    }
}
