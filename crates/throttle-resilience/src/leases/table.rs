//! Which keys are leased: bounded, spread over shards.

use std::{
    hash::BuildHasherDefault,
    sync::{Arc, MutexGuard},
};

use indexmap::IndexMap;
use smallvec::SmallVec;
use throttle_core::{
    CheckedRule, Clock, Key, Micros,
    sharded::{Sharded, shrunk},
};

use super::{
    lease::{Lease, Returns},
    pending_fetch::{Gate, Voided},
    plan::Plan,
};
use crate::keyed::{AsIs, same_clock};

/// Holds the leases of up to a number of keys.
pub(super) struct Table {
    shards: Sharded<Shard>,
    hasher: ahash::RandomState,
}

#[derive(Default)]
pub(super) struct Shard {
    keys: IndexMap<u64, OfKey, BuildHasherDefault<AsIs>>,
    most: usize,
    /// Requests that were answered from stock or refused, and the permits that were taken.
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) spent: u64,
}

/// Holds the leases of one key.
pub(super) struct OfKey {
    key: Key<'static>,
    pub(super) leases: SmallVec<[Held; 1]>,
}

/// Holds a lease, and the clock it goes by.
pub(super) struct Held {
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) lease: Lease,
}

/// Permits of a key that are to be given back.
pub(super) struct Return {
    pub(super) key: Key<'static>,
    pub(super) hash: u64,
    pub(super) plan: Arc<Plan>,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) batches: Returns,
}

const SHARDS: usize = 64;

impl Table {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let count = SHARDS.min(most);
        let most = most.div_ceil(count);
        let shards = Sharded::new(count, |_| Shard { most, ..Shard::default() });
        Self { shards, hasher: ahash::RandomState::new() }
    }

    #[inline]
    pub(super) fn hash(&self, key: &Key<'_>) -> u64 {
        self.hasher.hash_one(key.as_bytes())
    }

    #[inline]
    pub(super) fn lock(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards.lock(self.shards.index_of(hash))
    }

    /// Visits every shard, one after the other.
    pub(super) fn each(&self, mut visit: impl FnMut(&mut Shard)) {
        self.shards.each().for_each(|mut shard| visit(&mut shard));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shards.each().all(|shard| shard.keys.is_empty())
    }
}

impl Shard {
    #[inline]
    pub(super) fn find(&mut self, hash: u64, key: &Key<'_>) -> Option<&mut OfKey> {
        self.keys.get_mut(&hash).filter(|of_key| of_key.key == *key)
    }

    /// Returns the place of a key, a new one if there is room; none if there is not.
    pub(super) fn place(&mut self, hash: u64, key: &Key<'_>) -> Option<&mut OfKey> {
        if self.keys.len() >= self.most && !self.keys.contains_key(&hash) {
            return None;
        }
        let vacant = || OfKey { key: key.clone().into_owned(), leases: SmallVec::new() };
        let of_key = self.keys.entry(hash).or_insert_with(vacant);
        Some(of_key).filter(|of_key| of_key.key == *key)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Visits every key, and forgets those that hold nothing afterwards.
    pub(super) fn visit(&mut self, mut visit: impl FnMut(u64, &mut OfKey)) {
        self.keys.retain(|hash, of_key| {
            visit(*hash, of_key);
            !of_key.leases.is_empty()
        });
        if let Some(capacity) = shrunk(self.keys.len(), self.keys.capacity(), 64) {
            self.keys.shrink_to(capacity);
        }
    }
}

impl OfKey {
    /// Returns the lease of a rule, by the clock that the request goes by.
    #[inline]
    pub(super) fn of(
        &mut self,
        rule: &Arc<CheckedRule>,
        clock: Option<&Arc<dyn Clock>>,
    ) -> Option<&mut Lease> {
        let same = |held: &&mut Held| {
            let plan = &held.lease.plan;
            let same_rule = Arc::ptr_eq(&plan.rule, rule) || plan.rule == *rule;
            same_rule && same_clock(held.clock.as_ref(), clock)
        };
        self.leases.iter_mut().find(same).map(|held| &mut held.lease)
    }

    /// Returns the lease that a batch was asked for by.
    pub(super) fn behind(&mut self, gate: &Arc<Gate>) -> Option<&mut Lease> {
        let same = |held: &&mut Held| {
            held.lease.fetching.as_ref().is_some_and(|own| Arc::ptr_eq(own, gate))
        };
        self.leases.iter_mut().find(same).map(|held| &mut held.lease)
    }

    /// Returns the lease of a plan; a new one takes the place of those of other rules of its name.
    pub(super) fn of_plan(
        &mut self,
        plan: &Arc<Plan>,
        clock: Option<&Arc<dyn Clock>>,
        now: Micros,
    ) -> &mut Lease {
        let same = |held: &Held| {
            let rule = &held.lease.plan.rule;
            *rule == plan.rule && same_clock(held.clock.as_ref(), clock)
        };
        let place = self.leases.iter().position(same).unwrap_or_else(|| {
            let lease = Lease::new(Arc::clone(plan), now);
            self.leases.push(Held { clock: clock.cloned(), lease });
            self.leases.len() - 1
        });
        for (other, held) in self.leases.iter_mut().enumerate() {
            if other != place && held.lease.plan.rule.name() == plan.rule.name() {
                held.lease.end();
            }
        }
        &mut self.leases[place].lease
    }

    /// Takes out what is to be given back.
    pub(super) fn returns(&mut self, hash: u64, into: &mut Vec<Return>) {
        for held in &mut self.leases {
            let batches = held.lease.take_returns();
            if !batches.is_empty() {
                let (key, plan) = (self.key.clone(), Arc::clone(&held.lease.plan));
                into.push(Return { key, hash, plan, clock: held.clock.clone(), batches });
            }
        }
    }

    /// Ends the leases of rules of a name, or all, and forgets them.
    pub(super) fn void(
        &mut self,
        hash: u64,
        name: Option<&str>,
        voided: Voided,
        into: &mut Vec<Return>,
    ) -> Vec<Arc<Gate>> {
        let mut gates = Vec::new();
        let key = &self.key;
        self.leases.retain(|held| {
            if name.is_some_and(|name| held.lease.plan.rule.name() != name) {
                return true;
            }
            if let Some(gate) = held.lease.answered() {
                gate.void(voided);
                gates.push(gate);
            }
            held.lease.end();
            let batches = held.lease.take_returns();
            if !batches.is_empty() {
                let (key, plan) = (key.clone(), Arc::clone(&held.lease.plan));
                into.push(Return { key, hash, plan, clock: held.clock.clone(), batches });
            }
            false
        });
        gates
    }
}
