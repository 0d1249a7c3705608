//! Deferred charges: costs that were allowed locally and will be charged to the storage.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use throttle_core::{Algorithm, Charge, ChargeRequest, CheckedRule, Clock, Key};

/// The deferred charges of up to `most` keys and rules.
pub(super) struct DeferredCharges {
    charges: Mutex<HashMap<Name, DeferredCharge>>,
    /// Deferred charges that were taken out and are not finished yet.
    taken: AtomicU64,
    most: usize,
    pub(super) replayed: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// The key and rule of a deferred charge.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Name {
    key: Key<'static>,
    rule: String,
    /// The algorithm's state: a rule that is replaced by one of another algorithm counts in another state.
    state: Algorithm,
}

impl Name {
    fn of(key: &Key<'_>, rule: &CheckedRule) -> Self {
        Self::of_state(key, rule, state_of(rule.algorithm()))
    }

    fn of_state(key: &Key<'_>, rule: &CheckedRule, state: Algorithm) -> Self {
        Self { key: key.clone().into_owned(), rule: rule.name().to_owned(), state }
    }
}

/// Returns the first of the algorithms that count in the same state.
fn state_of(algorithm: Algorithm) -> Algorithm {
    match algorithm {
        Algorithm::LeakyBucket => Algorithm::TokenBucket,
        other => other,
    }
}

/// The deferred charge of one key under one rule and algorithm.
#[derive(Clone)]
pub(super) struct DeferredCharge {
    pub(super) key: Key<'static>,
    pub(super) rule: Arc<CheckedRule>,
    pub(super) cost: u64,
    pub(super) clock: Option<Arc<dyn Clock>>,
}

impl DeferredCharges {
    pub(super) fn new(most: usize) -> Self {
        let (taken, replayed, dropped) = Default::default();
        Self { charges: Mutex::default(), taken, most, replayed, dropped }
    }

    pub(super) fn add(&self, charge: &Charge<'_>, clock: Option<&Arc<dyn Clock>>) {
        self.put(DeferredCharge {
            key: charge.key().clone().into_owned(),
            rule: Arc::clone(charge.rule()),
            cost: charge.cost(),
            clock: clock.cloned(),
        });
    }

    /// Adds a charge to the deferred charge of the same key and rule.
    fn put(&self, deferred: DeferredCharge) {
        let mut charges = self.lock();
        let name = Name::of(&deferred.key, &deferred.rule);
        if let Some(old) = charges.get_mut(&name) {
            let cost = old.cost.saturating_add(deferred.cost);
            *old = DeferredCharge { cost, ..deferred };
        } else if charges.len() < self.most {
            charges.insert(name, deferred);
        } else {
            self.dropped.fetch_add(deferred.cost, Relaxed);
        }
    }

    /// Removes the deferred charges of a request's keys.
    pub(super) fn forget(&self, request: &ChargeRequest<'_>) {
        let mut charges = self.lock();
        if charges.is_empty() {
            return;
        }
        for charge in request.charges() {
            for state in Algorithm::ALL {
                charges.remove(&Name::of_state(charge.key(), charge.rule(), state));
            }
        }
    }

    /// Takes some deferred charges out. Each is then passed to `finish` or `put_back`.
    pub(super) fn take(&self, count: usize) -> Vec<DeferredCharge> {
        let mut charges = self.lock();
        let names: Vec<_> = charges.keys().take(count).cloned().collect();
        let taken: Vec<_> = names.iter().filter_map(|name| charges.remove(name)).collect();
        self.taken.fetch_add(taken.len() as u64, Relaxed);
        if charges.is_empty() {
            *charges = HashMap::new(); // frees the memory
        }
        taken
    }

    /// Finishes a deferred charge that was taken out: `charged` of it was replayed, the rest is
    /// dropped.
    pub(super) fn finish(&self, deferred: &DeferredCharge, charged: u64) {
        self.replayed.fetch_add(charged, Relaxed);
        self.dropped.fetch_add(deferred.cost.saturating_sub(charged), Relaxed);
        self.taken.fetch_sub(1, Relaxed);
    }

    /// Puts back deferred charges that were taken out.
    pub(super) fn put_back(&self, deferred: impl IntoIterator<Item = DeferredCharge>) {
        for one in deferred {
            self.put(one);
            self.taken.fetch_sub(1, Relaxed);
        }
    }

    /// Drops all deferred charges.
    pub(super) fn clear(&self) {
        let charges = std::mem::take(&mut *self.lock());
        let sum = charges.values().fold(0_u64, |sum, deferred| sum.saturating_add(deferred.cost));
        self.dropped.fetch_add(sum, Relaxed);
    }

    /// Returns whether no deferred charge is left to be taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns the number of deferred charges that are not finished.
    pub(super) fn len(&self) -> u64 {
        self.lock().len() as u64 + self.taken.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, DeferredCharge>> {
        self.charges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
