//! All slots, and the locked slots of a request.

use std::sync::{Arc, MutexGuard};

use smallvec::SmallVec;
use throttle_core::{
    Charge, ChargeRequest, Clock, Micros, Outcome, Refund, State, StateStore, SystemClock, Verdict,
    acquire, acquire_one, peek, refund, sharded::Sharded,
};

use crate::{key::SlotRef, shard::Shard, slot::Slot};

const MAX_SHARDS: usize = 64;
/// The smallest number of slots per shard, so that eviction has enough to choose from.
const MIN_SHARD: usize = 256;

/// All slots, in shards by their identity.
pub(crate) struct Slots {
    shards: Sharded<Shard>,
    hasher: ahash::RandomState,
}

impl Slots {
    pub(crate) fn new(max_entries: usize) -> Self {
        let hasher = ahash::RandomState::new();
        let count = (max_entries / MIN_SHARD).clamp(1, MAX_SHARDS);
        let shard = |i: usize| {
            let capacity = max_entries / count + usize::from(i < max_entries % count);
            Shard::new(capacity, hasher.hash_one(i))
        };
        Self { shards: Sharded::new(count, shard), hasher }
    }

    #[inline]
    pub(crate) fn acquire(&self, request: &ChargeRequest<'_>) -> Outcome {
        if let [charge] = request.charges() {
            return self.acquire_one(charge, request.clock());
        }
        let mut held = self.hold(request.charges(), request.clock(), true);
        let now = held.now;
        let outcome = acquire(request.charges(), now, &mut held);
        held.record(request.charges(), outcome.verdicts());
        outcome
    }

    /// Handles a request of one charge, the usual case, without collecting locks and indices.
    #[inline]
    fn acquire_one(&self, charge: &Charge<'_>, clock: Option<&Arc<dyn Clock>>) -> Outcome {
        let key = SlotRef::of(charge, &self.hasher);
        let mut shard = self.shards.lock(self.shard_of(&key));
        let real = SystemClock.now();
        self.sweep(&mut shard, real);
        let (now, lifetime_start) = times(real, clock);
        let slot = shard.find_or_insert(&key, real);
        let verdict = acquire_one(charge, now, &mut slot.state);
        let lifetime = match slot.state.outlives_reset() {
            false => verdict.reset_after, // already computed, and equal to the lifetime here
            true => slot.state.lifetime(charge.rule(), now),
        };
        slot.record_use(&verdict, lifetime_start.plus(lifetime));
        Outcome::one(verdict, now)
    }

    pub(crate) fn peek(&self, request: &ChargeRequest<'_>) -> Outcome {
        let charges = request.charges();
        let mut held = self.hold(charges, request.clock(), false);
        let now = held.now;
        let mut pairs = charges.iter().enumerate();
        if pairs.all(|(i, charge)| held.state(i).is_advanced_by_peek(charge.rule(), now)) {
            return peek(charges, now, &mut held);
        }
        let mut copies: Vec<_> = (0..charges.len()).map(|i| held.state(i).clone()).collect();
        drop(held);
        peek(charges, now, &mut copies)
    }

    pub(crate) fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) {
        let charges: SmallVec<[_; 2]> = refunds.iter().map(Refund::charge).collect();
        let mut held = self.hold(&charges, clock, false);
        let now = held.now;
        for (i, charged) in refunds.iter().enumerate() {
            refund(charged, now, held.state(i));
        }
        held.expire(&charges);
    }

    /// Removes the slots of a request, and returns whether one of them had not expired.
    pub(crate) fn reset(&self, request: &ChargeRequest<'_>) -> bool {
        let (now, mut was_stored) = (SystemClock.now(), false);
        for charge in request.charges() {
            let key = SlotRef::of(charge, &self.hasher);
            let mut shard = self.shards.lock(self.shard_of(&key));
            if let Some(index) = shard.find(&key) {
                was_stored |= shard.slot(index).expires > now;
                shard.remove(index);
            }
        }
        was_stored
    }

    /// Removes all slots, and returns how many of them had not expired.
    pub(crate) fn clear(&self) -> u64 {
        let now = SystemClock.now();
        let live = |mut shard: MutexGuard<'_, Shard>| {
            let slots = std::mem::take(&mut shard.slots);
            drop(shard);
            slots.iter().filter(|slot| slot.expires > now).count() as u64
        };
        self.shards.each().map(live).sum()
    }

    /// Returns the number of slots, including expired ones.
    pub(crate) fn len(&self) -> usize {
        self.shards.each().map(|shard| shard.slots.len()).sum()
    }

    /// Locks the shards of all charges, and finds their slots or, with `make`, creates them.
    ///
    /// The shards are locked in order, so that two requests cannot deadlock.
    fn hold(&self, charges: &[Charge<'_>], clock: Option<&Arc<dyn Clock>>, make: bool) -> Held<'_> {
        let shard_of = |charge| self.shard_of(&SlotRef::of(charge, &self.hasher));
        let mut shards: SmallVec<[usize; 2]> = charges.iter().map(shard_of).collect();
        if shards.len() > 1 {
            shards.sort_unstable();
            shards.dedup();
        }
        let mut guards: SmallVec<[_; 1]> = shards.iter().map(|i| self.shards.lock(*i)).collect();
        let real = SystemClock.now();
        for shard in &mut guards {
            self.sweep(shard, real);
            if make {
                shard.reserve(charges.len());
            }
        }

        let (now, lifetime_start) = times(real, clock);
        let mut held =
            Held { indices: SmallVec::new(), absent: Vec::new(), now, lifetime_start, guards };
        for charge in charges {
            let key = SlotRef::of(charge, &self.hasher);
            let guard = match shards.len() {
                1 => 0,
                _ => shards.binary_search(&self.shard_of(&key)).unwrap_or_default(),
            };
            held.take(guard, &key, make, real);
        }
        held
    }

    /// Removes some expired slots every few calls. It invalidates all indices.
    ///
    /// It sweeps one shard after the other, so it also reaches shards that are no longer used.
    #[inline]
    fn sweep(&self, own: &mut Shard, now: Micros) {
        if let Some(number) = own.due_sweep() {
            self.shards.sweep(number, own, |shard| shard.sweep(now));
        }
    }

    fn shard_of(&self, key: &SlotRef<'_>) -> usize {
        // Bits from the middle, because the table in the shard uses the lowest ones and the highest seven.
        self.shards.index_of(key.identity_hash() << 8)
    }
}

/// Returns the time for the decision, and the time from which lifetimes count: the system time, with a margin if the
/// limiter has its own clock.
fn times(real: Micros, clock: Option<&Arc<dyn Clock>>) -> (Micros, Micros) {
    match clock {
        None => (real, real),
        Some(clock) => (clock.now(), real.plus(ChargeRequest::TTL_MARGIN.into())),
    }
}

/// The locked states of a request, in the order of its charges.
struct Held<'a> {
    guards: SmallVec<[MutexGuard<'a, Shard>; 1]>,
    indices: SmallVec<[SlotIndex; 2]>,
    absent: Vec<State>,
    now: Micros,
    /// The time from which lifetimes count; see [`times`].
    lifetime_start: Micros,
}

#[derive(Copy, Clone)]
enum SlotIndex {
    Slot { guard: usize, index: usize },
    Absent(usize),
}

impl Held<'_> {
    fn take(&mut self, guard: usize, key: &SlotRef<'_>, make: bool, real: Micros) {
        let shard = &mut self.guards[guard];
        let found = match shard.find(key) {
            Some(index) => Some(index),
            None if make => {
                let in_use: SmallVec<[usize; 8]> = (self.indices.iter())
                    .filter_map(|index| match index {
                        SlotIndex::Slot { guard: other, index } if *other == guard => Some(*index),
                        _ => None,
                    })
                    .collect();
                Some(shard.insert(key, &in_use, real))
            }
            None => None,
        };
        self.indices.push(match found {
            Some(index) => SlotIndex::Slot { guard, index },
            None => {
                self.absent.push(State::default());
                SlotIndex::Absent(self.absent.len() - 1)
            }
        });
    }

    /// Records the verdicts in the slots, and when they expire.
    fn record(&mut self, charges: &[Charge<'_>], verdicts: &[Verdict]) {
        for (i, (charge, verdict)) in charges.iter().zip(verdicts).enumerate() {
            let (now, lifetime_start) = (self.now, self.lifetime_start);
            if let Some(slot) = self.slot(i) {
                let lifetime = slot.state.lifetime(charge.rule(), now);
                slot.record_use(verdict, lifetime_start.plus(lifetime));
            }
        }
    }

    /// Records when the slots expire.
    fn expire(&mut self, charges: &[Charge<'_>]) {
        for (i, charge) in charges.iter().enumerate() {
            let (now, lifetime_start) = (self.now, self.lifetime_start);
            if let Some(slot) = self.slot(i) {
                slot.expires = lifetime_start.plus(slot.state.lifetime(charge.rule(), now));
            }
        }
    }

    fn slot(&mut self, i: usize) -> Option<&mut Slot> {
        match self.indices[i] {
            SlotIndex::Slot { guard, index } => Some(self.guards[guard].slot(index)),
            SlotIndex::Absent(_) => None,
        }
    }
}

impl StateStore for Held<'_> {
    fn state(&mut self, index: usize) -> &mut State {
        match self.indices[index] {
            SlotIndex::Slot { guard, index } => &mut self.guards[guard].slot(index).state,
            SlotIndex::Absent(index) => &mut self.absent[index],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use throttle_core::{Key, Rule};

    use super::*;

    #[test]
    fn requests_of_one_client_remove_the_expired_slots_of_all_others() {
        let slots = Slots::new(1_000_000);
        let rule = Arc::new(Rule::new("r", 1, Duration::from_millis(1)).check().unwrap());
        for client in 0..10_000 {
            let key = Key::from(client.to_string());
            slots.acquire(&ChargeRequest::new(&[Charge::new(&key, &rule, 1)], None));
        }
        assert!(slots.len() > 9_900, "{}", slots.len());
        let later = SystemClock.now().plus(Micros::new(60_000_000));
        let mut own = slots.shards.lock(17);
        (0..1_000_000).for_each(|_| slots.sweep(&mut own, later));
        drop(own);
        assert_eq!(slots.len(), 0);
    }
}
