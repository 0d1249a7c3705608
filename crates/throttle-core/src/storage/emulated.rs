//! Whole checks on top of the six operations, exact in one process.

use std::{
    any::{TypeId, type_name},
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_lock::MutexGuard;
use async_trait::async_trait;

use super::{
    charge::{Charge, OwnedCharge, Refund},
    concurrency::ConcurrencyStorage,
    engine::{acquire, peek, refund},
    error::StorageError,
    lists::ListStorage,
    local_permits::LocalPermits,
    reply::Reply,
    request::ChargeRequest,
    traits::{AtomicStorage, Scope, Storage},
    value::Value,
};
use crate::{
    algorithm::State,
    time::{Clock, Micros, SystemClock},
    verdict::Outcome,
};

/// An [`AtomicStorage`] on top of a storage that has only the six operations.
///
/// It reads the states of a request, decides, and writes the states back, while it holds a lock for each key. All
/// storages of the same type in a process share these locks, so limiters and clones of one storage never allow a
/// request too many. Processes that share a storage are not synchronized; for these, the storage must implement
/// [`AtomicStorage`] itself.
///
/// Concurrency permits are counted in this process, too, and shared by all limiters that use the same `Arc` of the
/// storage.
///
/// If a write fails after another write of the same request, the old state is written back. If the future is dropped
/// between two writes, the rules that were written stay charged.
pub struct Emulated<S: ?Sized> {
    locks: Arc<Locks>,
    permits: Arc<LocalPermits>,
    storage: Arc<S>,
}

impl<S: Storage + ?Sized> Emulated<S> {
    /// Wraps a storage.
    #[must_use]
    pub fn new(storage: Arc<S>) -> Self {
        let kind = TypeId::of::<S>();
        // The address identifies the storage, because the `Arc` keeps it from being reused.
        let permits = permits_of((kind, Arc::as_ptr(&storage).cast::<()>() as usize));
        Self { locks: Locks::of(kind), permits, storage }
    }

    /// Runs `work` with exclusive access to the states of `charges`, and stores the states if `work` requires it.
    fn run<'c, T: Send + 'static>(
        &self,
        charges: impl Iterator<Item = Charge<'c>> + Clone,
        clock: Option<&Arc<dyn Clock>>,
        work: impl FnOnce(&[Charge<'_>], Micros, &mut Vec<State>) -> (T, Store) + Send + 'static,
    ) -> Reply<T> {
        let keys: Vec<_> = charges.clone().map(|charge| charge.storage_key()).collect();
        let owned: Vec<_> = charges.map(Charge::to_owned).collect();
        let (storage, locks) = (Arc::clone(&self.storage), Arc::clone(&self.locks));
        let clock = clock.cloned();
        Reply::pending(async move {
            let _held = locks.hold(&keys).await;
            let mut old = Vec::with_capacity(keys.len());
            for key in &keys {
                old.push(read(&*storage, key).await?);
            }
            let moment = clock.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.now());
            let mut new = old.clone();
            let (answer, store) = {
                let charges: Vec<_> = owned.iter().map(OwnedCharge::borrow).collect();
                work(&charges, moment, &mut new)
            };
            let changed = new != old && (store == Store::Changed || is_ahead(&old, moment));
            if changed {
                let ttl_margin =
                    if clock.is_some() { ChargeRequest::TTL_MARGIN } else { Duration::ZERO };
                let writer =
                    Writer { storage: &*storage, owned: &owned, keys: &keys, moment, ttl_margin };
                writer.store(&old, &new).await?;
            }
            Ok(answer)
        })
    }
}

impl dyn AtomicStorage {
    /// Implements whole checks on top of the six operations of a storage.
    pub(super) fn emulated<S: Storage + ?Sized>(storage: Arc<S>) -> Arc<Self> {
        Arc::new(Emulated::new(storage))
    }
}

/// The states to store after `work`.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Store {
    /// Store all states that have changed.
    Changed,
    /// Store no states, unless the clock has stepped back; those states must always be stored.
    Nothing,
}

impl Store {
    fn when(changed: bool) -> Self {
        if changed { Self::Changed } else { Self::Nothing }
    }
}

async fn read<S: Storage + ?Sized>(storage: &S, key: &str) -> Result<State, StorageError> {
    match storage.get(key).await? {
        None => Ok(State::default()),
        Some(value) => {
            State::decode(value.as_bytes()).map_err(|why| StorageError::corrupt(key, why))
        }
    }
}

fn is_ahead(states: &[State], now: Micros) -> bool {
    states.iter().any(|state| state.is_ahead(now))
}

struct Writer<'a, S: ?Sized> {
    storage: &'a S,
    owned: &'a [OwnedCharge],
    keys: &'a [String],
    moment: Micros,
    ttl_margin: Duration,
}

impl<S: Storage + ?Sized> Writer<'_, S> {
    /// Writes the new states. If a write fails, it restores the states that were written before.
    async fn store(&self, old: &[State], new: &[State]) -> Result<(), StorageError> {
        for (i, (before, after)) in old.iter().zip(new).enumerate() {
            if before == after {
                continue;
            }
            if let Err(mut error) = self.write(i, after).await {
                for (j, before) in old.iter().enumerate().take(i) {
                    if let Err(why) = self.write(j, before).await {
                        // Log the rule and not the storage key, which contains the client's key and may be a secret.
                        let rule = self.owned[j].borrow().rule().name();
                        tracing::error!(
                            target: "ratethrottle::storage",
                            error = %why, rule, "a charge could not be reverted"
                        );
                        error = error.with_unknown_effect();
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn write(&self, i: usize, state: &State) -> Result<(), StorageError> {
        let lifetime = state.lifetime(self.owned[i].borrow().rule(), self.moment);
        if lifetime == Micros::ZERO {
            return self.storage.delete(&self.keys[i]).await.map(|_| ());
        }
        let ttl = Duration::from(lifetime) + self.ttl_margin;
        self.storage.set(&self.keys[i], state.encode().into(), Some(ttl)).await
    }
}

/// The type of a storage, and its address.
type Address = (TypeId, usize);

/// Returns the permits of the storage with this type and address.
fn permits_of(storage: Address) -> Arc<LocalPermits> {
    static ALL: Mutex<Vec<(Address, Weak<LocalPermits>)>> = Mutex::new(Vec::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, permits)| permits.strong_count() > 0);
    let mut found = all.iter().filter(|(other, _)| *other == storage);
    if let Some(permits) = found.find_map(|(_, permits)| permits.upgrade()) {
        return permits;
    }
    let permits = Arc::new(LocalPermits::new());
    all.push((storage, Arc::downgrade(&permits)));
    permits
}

/// Locks for keys, shared by all storages of one type in the process. Keys with the same hash share a lock.
struct Locks {
    stripes: Vec<async_lock::Mutex<()>>,
    hasher: RandomState,
}

const STRIPES: usize = 1024;

impl Locks {
    fn of(storage: TypeId) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<TypeId, Arc<Locks>>>> = LazyLock::new(Mutex::default);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let stripes = (0..STRIPES).map(|_| async_lock::Mutex::new(())).collect();
            Arc::new(Self { stripes, hasher: RandomState::new() })
        };
        Arc::clone(all.entry(storage).or_insert_with(new))
    }

    /// Locks all keys, always in the same order, so that two requests cannot deadlock.
    async fn hold(&self, keys: &[String]) -> Vec<MutexGuard<'_, ()>> {
        let stripe = |key| self.hasher.hash_one(key) as usize % STRIPES;
        let mut stripes: Vec<_> = keys.iter().map(stripe).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let mut held = Vec::with_capacity(stripes.len());
        for stripe in stripes {
            held.push(self.stripes[stripe].lock().await);
        }
        held
    }
}

#[async_trait]
impl<S: Storage + ?Sized> Storage for Emulated<S> {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        self.storage.get(key).await
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        self.storage.set(key, value, ttl).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        self.storage.increment(key, amount, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.storage.delete(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.storage.exists(key).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.storage.clear().await
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}

impl<S: Storage + ?Sized> AtomicStorage for Emulated<S> {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let charges = request.charges().iter().copied();
        self.run(charges, request.clock(), |charges, now, states| {
            let outcome = acquire(charges, now, states);
            let blocks = outcome.verdicts().iter().any(|verdict| verdict.blocked);
            let store = Store::when(outcome.is_allowed() || blocks);
            (outcome, store)
        })
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let charges = request.charges().iter().copied();
        self.run(charges, request.clock(), |charges, now, states| {
            (peek(charges, now, states), Store::Nothing)
        })
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        let charges = refunds.iter().map(Refund::charge);
        let receipts: Vec<_> = refunds.iter().map(Refund::receipt).collect();
        self.run(charges, clock, move |charges, now, states| {
            for ((charge, receipt), state) in charges.iter().zip(receipts).zip(states) {
                refund(&Refund::new(*charge, receipt), now, state);
            }
            ((), Store::Changed)
        })
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        let keys: Vec<_> = request.charges().iter().map(Charge::storage_key).collect();
        let (storage, locks) = (Arc::clone(&self.storage), Arc::clone(&self.locks));
        Reply::pending(async move {
            let _held = locks.hold(&keys).await;
            let mut was_stored = false;
            for key in &keys {
                was_stored |= storage.delete(key).await?;
            }
            Ok(was_stored)
        })
    }

    fn scope(&self) -> Scope {
        Scope::Process
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        None // the six operations cannot list entries
    }

    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        // Clones the counts, not their `Arc`: a permit must not keep the entry of this address alive.
        Some(Arc::new(LocalPermits::clone(&self.permits)))
    }

    fn kind(&self) -> &str {
        let name = type_name::<S>();
        let plain = name.split_once('<').map_or(name, |(plain, _)| plain);
        plain.rsplit("::").next().unwrap_or(name)
    }
}

impl<S: ?Sized> fmt::Debug for Emulated<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulated").field("storage", &type_name::<S>()).finish_non_exhaustive()
    }
}
