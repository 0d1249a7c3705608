//! Who is being denied: bounded, and forgotten when it is over.

use std::{hash::BuildHasherDefault, sync::MutexGuard, time::Instant};

use indexmap::IndexMap;
use smallvec::SmallVec;
use throttle_core::{
    ChargeRequest, Key, Micros, Outcome,
    sharded::{DueSweeps, Sharded, shrunk},
};

use super::entry::{Age, Entry};
use crate::keyed::AsIs;

/// Remembers denials of up to a number of keys, spread over shards.
pub(super) struct Table {
    shards: Sharded<Shard>,
    hasher: ahash::RandomState,
    most: usize,
}

#[derive(Default)]
struct Shard {
    keys: IndexMap<u64, OfKey, BuildHasherDefault<AsIs>>,
    /// How often something was made void; an answer that was on its way meanwhile is not remembered.
    voided: u64,
    hand: usize,
    due_sweeps: DueSweeps,
}

/// Holds the denials of one key.
struct OfKey {
    key: Key<'static>,
    entries: SmallVec<[Entry; 1]>,
    /// The latest time that a limiter's own clock showed: a step back makes all void.
    latest: Micros,
}

/// Says what the table knows about a request.
pub(super) enum Known {
    /// It is denied.
    Denied(Outcome),
    /// The storage must be asked.
    Ask(Ticket),
}

/// Goes with a request that is sent to the storage, and brings its answer back.
#[derive(Copy, Clone)]
pub(super) struct Ticket {
    hash: u64,
    voided: u64,
    /// Whether denials of the key are remembered.
    known: bool,
    /// When it was sent: no later than when the storage decides.
    sent: Instant,
}

const SHARDS: usize = 64;
/// How many denials of one key are remembered: by different rules and costs.
const OF_KEY: usize = 8;
/// How many keys are looked at, to clear away what is over, when one comes.
const SWEEP: usize = 4;
/// How often, in requests, another shard is cleared, and how many of its keys are looked at.
const SWEEP_OTHER_EVERY: u32 = 32;
const SWEEP_OTHER: usize = 16;

impl Table {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let count = SHARDS.min(most);
        let shards = Sharded::new(count, |_| Shard::default());
        Self { shards, hasher: ahash::RandomState::new(), most: most.div_ceil(count) }
    }

    /// Says whether a request is known to be denied; it is about one key.
    #[inline]
    pub(super) fn find(&self, key: &Key<'_>, request: &ChargeRequest<'_>) -> Known {
        let now = Instant::now();
        let hash = self.hasher.hash_one(key.as_bytes());
        let mut shard = self.lock(hash);
        if let Some(number) = shard.due_sweeps.next(SWEEP_OTHER_EVERY) {
            self.shards.sweep(number, &mut shard, |shard| shard.sweep(SWEEP_OTHER, now));
        }
        let ticket = Ticket { hash, voided: shard.voided, known: false, sent: now };
        let Some(place) = shard.keys.get_index_of(&hash) else {
            return Known::Ask(ticket);
        };
        let of_key = &mut shard.keys[place];
        if of_key.key != *key {
            return Known::Ask(ticket);
        }
        if of_key.steps_back(request) {
            shard.keys.swap_remove_index(place);
            return Known::Ask(ticket);
        }
        match of_key.answer(request, now) {
            Some(outcome) => Known::Denied(outcome),
            None => Known::Ask(Ticket { known: true, ..ticket }),
        }
    }

    /// Takes note of an answer to a request that was sent with a ticket.
    #[inline]
    pub(super) fn note(&self, ticket: Ticket, request: &ChargeRequest<'_>, outcome: &Outcome) {
        if outcome.is_allowed() {
            if ticket.known {
                // What was told about what remains no longer holds.
                self.lock(ticket.hash).keys.swap_remove(&ticket.hash);
            }
            return;
        }
        let Some(charge) = request.charges().first() else { return };
        let Some(entry) = Entry::of(request, outcome, ticket.sent) else { return };
        let mut shard = self.lock(ticket.hash);
        if shard.voided == ticket.voided {
            shard.remember(ticket.hash, charge.key(), entry, self.most);
        }
    }

    /// Makes void what is known of a key.
    pub(super) fn forget(&self, key: &Key<'_>) {
        let hash = self.hasher.hash_one(key.as_bytes());
        let mut shard = self.lock(hash);
        shard.voided += 1;
        shard.keys.swap_remove(&hash);
    }

    pub(super) fn clear(&self) {
        for mut shard in self.shards.each() {
            shard.voided += 1;
            shard.keys = IndexMap::default();
        }
    }

    /// Returns for how many keys something is remembered, over or not.
    pub(super) fn len(&self) -> usize {
        self.shards.each().map(|shard| shard.keys.len()).sum()
    }

    fn lock(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards.lock(self.shards.index_of(hash))
    }
}

impl Shard {
    fn remember(&mut self, hash: u64, key: &Key<'_>, entry: Entry, most: usize) {
        let now = Instant::now();
        self.sweep(SWEEP, now);
        if let Some(of_key) = self.keys.get_mut(&hash).filter(|of_key| of_key.key == *key) {
            return of_key.remember(entry, now);
        }
        if self.keys.len() >= most {
            let victim = fastrand::usize(..self.keys.len());
            self.keys.swap_remove_index(victim);
        }
        let entries = SmallVec::from_iter([entry]);
        let of_key = OfKey { key: key.clone().into_owned(), entries, latest: Micros::ZERO };
        self.keys.insert(hash, of_key);
    }

    /// Clears some keys away whose denials are over.
    fn sweep(&mut self, count: usize, now: Instant) {
        for _ in 0..count {
            match self.keys.get_index(self.hand) {
                Some((_, of_key)) if of_key.entries.iter().all(|entry| entry.is_stale(now)) => {
                    self.keys.swap_remove_index(self.hand);
                }
                Some(_) => self.hand += 1,
                None => self.hand = 0,
            }
        }
        if let Some(capacity) = shrunk(self.keys.len(), self.keys.capacity(), 1024) {
            self.keys.shrink_to(capacity);
        }
    }
}

impl OfKey {
    /// Answers by the denial of the greatest cost that covers the request; none when it is to be asked.
    fn answer(&mut self, request: &ChargeRequest<'_>, now: Instant) -> Option<Outcome> {
        loop {
            let places = self.entries.iter().enumerate();
            let covering = places.filter(|(_, entry)| entry.covers(request));
            let (place, _) = covering.max_by_key(|(_, entry)| entry.cost())?;
            match self.entries[place].answer(request, now) {
                Age::Valid(outcome) => return Some(outcome),
                Age::Due => return None,
                Age::Over => _ = self.entries.swap_remove(place),
            }
        }
    }

    /// Returns whether the clock of a request shows less than it did.
    fn steps_back(&mut self, request: &ChargeRequest<'_>) -> bool {
        let Some(clock) = request.clock() else { return false };
        let now = clock.now();
        let back = now < self.latest;
        self.latest = now;
        back
    }

    fn remember(&mut self, entry: Entry, now: Instant) {
        // A denial changes nothing for others but by shutting the key.
        let shuts = entry.is_blocked();
        self.entries.retain(|old| !shuts && !old.is_stale(now) && !old.is_of(&entry));
        if self.entries.len() >= OF_KEY {
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
    fn the_requests_of_one_key_clear_away_the_expired_denials_of_all_others() {
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
