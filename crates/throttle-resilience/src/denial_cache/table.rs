//! The cached denials by key: a bounded table, from which expired denials are removed.

use std::{hash::BuildHasherDefault, sync::MutexGuard, time::Instant};

use indexmap::IndexMap;
use smallvec::SmallVec;
use throttle_core::{
    ChargeRequest, Key, Micros, Outcome,
    sharded::{DueSweeps, Sharded, shrunk},
};

use super::entry::{Age, Entry};
use crate::keyed::AsIs;

/// The denials of a bounded number of keys, spread over shards.
pub(super) struct Table {
    shards: Sharded<Shard>,
    hasher: ahash::RandomState,
    max_keys: usize,
}

#[derive(Default)]
struct Shard {
    keys: IndexMap<u64, OfKey, BuildHasherDefault<AsIs>>,
    /// The number of invalidations. An answer to a request that was sent before the latest one is not cached.
    invalidations: u64,
    cursor: usize,
    due_sweeps: DueSweeps,
}

/// The denials of one key.
struct OfKey {
    key: Key<'static>,
    entries: SmallVec<[Entry; 1]>,
    /// The latest time of a limiter's own clock: a step back invalidates all denials.
    latest: Micros,
}

/// The result of a lookup.
pub(super) enum Known {
    /// It is denied.
    Denied(Outcome),
    /// The storage must be called.
    Ask(Ticket),
}

/// The state of the table when a request is sent to the storage; its answer is recorded with it.
#[derive(Copy, Clone)]
pub(super) struct Ticket {
    hash: u64,
    invalidations: u64,
    /// Whether denials of the key are cached.
    known: bool,
    /// The time at which it was sent, which is not later than the storage's decision.
    sent: Instant,
}

const SHARDS: usize = 64;
/// The maximum number of denials of one key, for different rules and costs.
const MAX_PER_KEY: usize = 8;
/// The number of keys that each insertion checks for expired denials.
const SWEEP: usize = 4;
/// The interval, in requests, at which another shard is swept, and the number of its keys that are checked.
const SWEEP_OTHER_EVERY: u32 = 32;
const SWEEP_OTHER: usize = 16;

impl Table {
    pub(super) fn new(max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let count = SHARDS.min(max_keys);
        let shards = Sharded::new(count, |_| Shard::default());
        Self { shards, hasher: ahash::RandomState::new(), max_keys: max_keys.div_ceil(count) }
    }

    /// Returns the cached denial of a request, all of whose rules have this key.
    #[inline]
    pub(super) fn find(&self, key: &Key<'_>, request: &ChargeRequest<'_>) -> Known {
        let now = Instant::now();
        let hash = self.hasher.hash_one(key.as_bytes());
        let mut shard = self.lock(hash);
        if let Some(number) = shard.due_sweeps.next(SWEEP_OTHER_EVERY) {
            self.shards.sweep(number, &mut shard, |shard| shard.sweep(SWEEP_OTHER, now));
        }
        let ticket = Ticket { hash, invalidations: shard.invalidations, known: false, sent: now };
        let Some(index) = shard.keys.get_index_of(&hash) else {
            return Known::Ask(ticket);
        };
        let of_key = &mut shard.keys[index];
        if of_key.key != *key {
            return Known::Ask(ticket);
        }
        if of_key.steps_back(request) {
            shard.keys.swap_remove_index(index);
            return Known::Ask(ticket);
        }
        match of_key.answer(request, now) {
            Some(outcome) => Known::Denied(outcome),
            None => Known::Ask(Ticket { known: true, ..ticket }),
        }
    }

    /// Records the answer to a request that was sent with a ticket.
    #[inline]
    pub(super) fn note(&self, ticket: Ticket, request: &ChargeRequest<'_>, outcome: &Outcome) {
        if outcome.is_allowed() {
            if ticket.known {
                // The cached `remaining` is no longer true.
                self.lock(ticket.hash).keys.swap_remove(&ticket.hash);
            }
            return;
        }
        let Some(charge) = request.charges().first() else { return };
        let Some(entry) = Entry::of(request, outcome, ticket.sent) else { return };
        let mut shard = self.lock(ticket.hash);
        if shard.invalidations == ticket.invalidations {
            shard.remember(ticket.hash, charge.key(), entry, self.max_keys);
        }
    }

    /// Invalidates the denials of a key.
    pub(super) fn forget(&self, key: &Key<'_>) {
        let hash = self.hasher.hash_one(key.as_bytes());
        let mut shard = self.lock(hash);
        shard.invalidations += 1;
        shard.keys.swap_remove(&hash);
    }

    pub(super) fn clear(&self) {
        for mut shard in self.shards.each() {
            shard.invalidations += 1;
            shard.keys = IndexMap::default();
        }
    }

    /// Returns the number of keys, including those whose denials have expired.
    pub(super) fn len(&self) -> usize {
        self.shards.each().map(|shard| shard.keys.len()).sum()
    }

    fn lock(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards.lock(self.shards.index_of(hash))
    }
}

impl Shard {
    fn remember(&mut self, hash: u64, key: &Key<'_>, entry: Entry, max_keys: usize) {
        let now = Instant::now();
        self.sweep(SWEEP, now);
        if let Some(of_key) = self.keys.get_mut(&hash).filter(|of_key| of_key.key == *key) {
            return of_key.remember(entry, now);
        }
        if self.keys.len() >= max_keys {
            let victim = fastrand::usize(..self.keys.len());
            self.keys.swap_remove_index(victim);
        }
        let entries = SmallVec::from_iter([entry]);
        let of_key = OfKey { key: key.clone().into_owned(), entries, latest: Micros::ZERO };
        self.keys.insert(hash, of_key);
    }

    /// Checks the next keys, and removes those whose denials have expired.
    fn sweep(&mut self, count: usize, now: Instant) {
        for _ in 0..count {
            match self.keys.get_index(self.cursor) {
                Some((_, of_key)) if of_key.entries.iter().all(|entry| entry.is_stale(now)) => {
                    self.keys.swap_remove_index(self.cursor);
                }
                Some(_) => self.cursor += 1,
                None => self.cursor = 0,
            }
        }
        if let Some(capacity) = shrunk(self.keys.len(), self.keys.capacity(), 1024) {
            self.keys.shrink_to(capacity);
        }
    }
}

impl OfKey {
    /// Returns the denial of the greatest cost that covers the request, or `None` if the storage must be called.
    fn answer(&mut self, request: &ChargeRequest<'_>, now: Instant) -> Option<Outcome> {
        loop {
            let entries = self.entries.iter().enumerate();
            let covering = entries.filter(|(_, entry)| entry.covers(request));
            let (index, _) = covering.max_by_key(|(_, entry)| entry.cost())?;
            match self.entries[index].answer(request, now) {
                Age::Valid(outcome) => return Some(outcome),
                Age::Due => return None,
                Age::Over => _ = self.entries.swap_remove(index),
            }
        }
    }

    /// Returns whether the request's clock has stepped back.
    fn steps_back(&mut self, request: &ChargeRequest<'_>) -> bool {
        let Some(clock) = request.clock() else { return false };
        let now = clock.now();
        let back = now < self.latest;
        self.latest = now;
        back
    }

    fn remember(&mut self, entry: Entry, now: Instant) {
        // A denial affects other entries only if it blocks the key.
        let blocks = entry.is_blocked();
        self.entries.retain(|old| !blocks && !old.is_stale(now) && !old.is_of(&entry));
        if self.entries.len() >= MAX_PER_KEY {
            self.entries.swap_remove(0);
        }
        self.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use throttle_core::{Charge, Rule, Verdict};

    use super::*;

    #[test]
    fn requests_of_one_key_remove_the_expired_denials_of_all_others() {
        let table = Table::new(100_000);
        let rule = Arc::new(Rule::per_day("r", 1).check().unwrap());
        let long_ago = Instant::now() - Duration::from_secs(10);
        let key_of = |client: u32| Key::from(client.to_string());
        for client in 0..10_000 {
            let key = key_of(client);
            let charges = [Charge::new(&key, &rule, 1)];
            let request = ChargeRequest::new(&charges, None);
            let denied = Outcome::one(Verdict::default(), Micros::ZERO);
            let entries = SmallVec::from_iter(Entry::of(&request, &denied, long_ago));
            let hash = table.hasher.hash_one(key.as_bytes());
            let of_key = OfKey { key: key.into_owned(), entries, latest: Micros::ZERO };
            table.lock(hash).keys.insert(hash, of_key);
        }
        assert_eq!(table.len(), 10_000);
        let key = key_of(10_000);
        let charges = [Charge::new(&key, &rule, 1)];
        for _ in 0..30_000 {
            let known = table.find(&key, &ChargeRequest::new(&charges, None));
            assert!(matches!(known, Known::Ask(_)));
        }
        assert_eq!(table.len(), 0);
    }
}
