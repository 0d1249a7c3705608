//! The table of leased keys: bounded and sharded.

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
    pending_fetch::{Invalidation, PendingFetch},
    plan::Plan,
};
use crate::keyed::{AsIs, same_clock};

/// The leases of a bounded number of keys.
pub(super) struct Table {
    shards: Sharded<Shard>,
    hasher: ahash::RandomState,
}

#[derive(Default)]
pub(super) struct Shard {
    keys: IndexMap<u64, OfKey, BuildHasherDefault<AsIs>>,
    most: usize,
    /// Requests that were allowed or rejected locally, and the permits spent.
    pub(super) allowed: u64,
    pub(super) rejected: u64,
    pub(super) spent: u64,
}

/// The leases of one key.
pub(super) struct OfKey {
    key: Key<'static>,
    pub(super) leases: SmallVec<[Held; 1]>,
}

/// A lease and its clock.
pub(super) struct Held {
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) lease: Lease,
}

/// Permits of a key to return.
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

    /// Visits every shard, one at a time.
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

    /// Returns the entry of a key, creating it if there is room.
    pub(super) fn entry(&mut self, hash: u64, key: &Key<'_>) -> Option<&mut OfKey> {
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

    /// Visits every key, then removes keys without leases.
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
    /// Returns the lease of a rule with the request's clock.
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

    /// Returns the lease that started a fetch.
    pub(super) fn behind(&mut self, pending_fetch: &Arc<PendingFetch>) -> Option<&mut Lease> {
        let same = |held: &&mut Held| {
            held.lease.fetching.as_ref().is_some_and(|own| Arc::ptr_eq(own, pending_fetch))
        };
        self.leases.iter_mut().find(same).map(|held| &mut held.lease)
    }

    /// Returns the lease of a plan, creating it if needed. Leases of other rules with the same name
    /// end: the rule was replaced.
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
        let index = self.leases.iter().position(same).unwrap_or_else(|| {
            let lease = Lease::new(Arc::clone(plan), now);
            self.leases.push(Held { clock: clock.cloned(), lease });
            self.leases.len() - 1
        });
        for (other, held) in self.leases.iter_mut().enumerate() {
            if other != index && held.lease.plan.rule.name() == plan.rule.name() {
                held.lease.end();
            }
        }
        &mut self.leases[index].lease
    }

    /// Takes out the permits to be returned.
    pub(super) fn returns(&mut self, hash: u64, into: &mut Vec<Return>) {
        for held in &mut self.leases {
            let batches = held.lease.take_returns();
            if !batches.is_empty() {
                let (key, plan) = (self.key.clone(), Arc::clone(&held.lease.plan));
                into.push(Return { key, hash, plan, clock: held.clock.clone(), batches });
            }
        }
    }

    /// Ends and removes the leases of a rule name, or all leases. Returns their fetches in flight.
    pub(super) fn invalidate(
        &mut self,
        hash: u64,
        name: Option<&str>,
        invalidation: Invalidation,
        into: &mut Vec<Return>,
    ) -> Vec<Arc<PendingFetch>> {
        let mut pending_fetches = Vec::new();
        let key = &self.key;
        self.leases.retain(|held| {
            if name.is_some_and(|name| held.lease.plan.rule.name() != name) {
                return true;
            }
            if let Some(pending_fetch) = held.lease.answered() {
                pending_fetch.invalidate(invalidation);
                pending_fetches.push(pending_fetch);
            }
            held.lease.end();
            let batches = held.lease.take_returns();
            if !batches.is_empty() {
                let (key, plan) = (key.clone(), Arc::clone(&held.lease.plan));
                into.push(Return { key, hash, plan, clock: held.clock.clone(), batches });
            }
            false
        });
        pending_fetches
    }
}
