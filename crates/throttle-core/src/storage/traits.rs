//! The two depths of a storage: six operations, and whole checks.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    charge::Refund, concurrency::ConcurrencyStorage, error::StorageError, lists::ListStorage,
    reply::Reply, request::ChargeRequest, value::Value,
};
use crate::{decision::Outcome, rule::checked::MAX_LOG_LIMIT, time::Clock};

/// Keeps values under keys: the six operations that a storage of your own needs, and no more.
///
/// With these alone it serves every algorithm, exactly as long as one process uses it
/// ([`Emulated`](super::Emulated)); a storage that can decide in one atomic step for all processes says
/// so by overriding [`Storage::atomic`]. One that wraps another implements [`Wrapper`](super::Wrapper).
///
/// The contract, which the conformance suite of `throttle-testkit` checks:
///
/// - An expired key is an absent key, without anybody asking for it first.
/// - `increment` is atomic. Its `ttl` is for new keys only; an existing key keeps the lifetime it has.
/// - `clear` removes what this storage wrote and nothing else that may live beside it.
/// - A limiter's keys are those of [`Charge::storage_key`](super::Charge::storage_key): printable ASCII
///   without spaces, up to 963 bytes. Clients choose parts of them, slashes and dots among it. As operations
///   of their own keys may be any text; the suite has one of 64 KiB.
/// - Values are any bytes, empty ones too; the suite has one of 1 MiB.
/// - Calls are made on the tasks that serve requests. One that blocks runs on a thread that may, such as
///   those of `tokio::task::spawn_blocking`.
///
/// # Examples
///
/// A storage on a map:
///
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::{Duration, Instant}};
/// # use throttle_core as ratethrottle;
/// use ratethrottle::{Limiter, Rule, Storage, StorageError, Value, async_trait};
///
/// #[derive(Default)]
/// struct MapStorage {
///     map: Mutex<HashMap<String, (Value, Option<Instant>)>>,
/// }
///
/// impl MapStorage {
///     /// Works on the live value of a key; an expired one counts as absent.
///     fn with<T>(&self, key: &str, work: impl FnOnce(&mut Option<(Value, Option<Instant>)>) -> T) -> T {
///         let mut map = self.map.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
///         let mut entry = map.remove(key).filter(|(_, end)| end.is_none_or(|end| end > Instant::now()));
///         let answer = work(&mut entry);
///         if let Some(entry) = entry {
///             map.insert(key.to_owned(), entry);
///         }
///         answer
///     }
/// }
///
/// #[async_trait]
/// impl Storage for MapStorage {
///     async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
///         Ok(self.with(key, |entry| entry.as_ref().map(|(value, _)| value.clone())))
///     }
///
///     async fn set(&self, key: &str, value: Value, ttl: Option<Duration>) -> Result<(), StorageError> {
///         self.with(key, |entry| *entry = Some((value, ttl.map(|ttl| Instant::now() + ttl))));
///         Ok(())
///     }
///
///     async fn increment(&self, key: &str, amount: i64, ttl: Option<Duration>) -> Result<i64, StorageError> {
///         self.with(key, |entry| {
///             let (old, end) = match entry {
///                 Some((value, end)) => (value.as_i64().ok_or_else(|| StorageError::not_an_integer(key))?, *end),
///                 None => (0, ttl.map(|ttl| Instant::now() + ttl)),
///             };
///             let new = old.checked_add(amount).ok_or_else(|| StorageError::overflow(key))?;
///             *entry = Some((new.into(), end));
///             Ok(new)
///         })
///     }
///
///     async fn delete(&self, key: &str) -> Result<bool, StorageError> {
///         Ok(self.with(key, |entry| entry.take().is_some()))
///     }
///
///     async fn exists(&self, key: &str) -> Result<bool, StorageError> {
///         Ok(self.with(key, |entry| entry.is_some()))
///     }
///
///     async fn clear(&self) -> Result<u64, StorageError> {
///         let mut map = self.map.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
///         Ok(std::mem::take(&mut *map).len() as u64)
///     }
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::new(MapStorage::default());
/// limiter.add_rule(Rule::per_minute("api", 100))?;
/// assert!(limiter.check("user:42", "api").await?.is_allowed());
/// # Ok(()) }
/// ```
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Returns the value of a key; none when it is absent or expired.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot say.
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError>;

    /// Replaces value and lifetime of a key; without `ttl` it does not expire.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the value was not stored, or may not have been.
    async fn set(&self, key: &str, value: Value, ttl: Option<Duration>)
    -> Result<(), StorageError>;

    /// Adds `amount` to a key's whole number and returns the sum; absent counts as 0.
    ///
    /// Atomic. `ttl` is for new keys only: an existing key keeps the lifetime that it has.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the value is no whole number or the sum does not fit (the value stays
    /// as it was), or when the storage cannot do it.
    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError>;

    /// Removes a key and returns whether a live one was there.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot say.
    async fn delete(&self, key: &str) -> Result<bool, StorageError>;

    /// Returns whether a live key is there.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when the storage cannot say.
    async fn exists(&self, key: &str) -> Result<bool, StorageError>;

    /// Removes every key of this storage, and says how many there were.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when some may be left.
    async fn clear(&self) -> Result<u64, StorageError>;

    /// Opens the door that whole checks go through.
    ///
    /// Provided: every algorithm over the six operations, exact in one process. A storage that
    /// implements [`AtomicStorage`] must return itself here, or nobody asks it.
    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        <dyn AtomicStorage>::emulated(self)
    }
}

#[async_trait]
impl<S: Storage + ?Sized> Storage for Arc<S> {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        (**self).get(key).await
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        (**self).set(key, value, ttl).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        (**self).increment(key, amount, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        (**self).delete(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        (**self).exists(key).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        (**self).clear().await
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        Arc::clone(&*self).atomic()
    }
}

/// Decides whole requests, each in one atomic step.
///
/// A storage that wraps another implements [`Wrapper`](super::Wrapper) instead. What a storage must
/// answer is [`crate::acquire`]'s arithmetic, whatever it is written in; the conformance suite of
/// `throttle-testkit` holds every storage to it.
///
/// - The storage says so by returning itself from [`Storage::atomic`].
/// - In one step: nobody else reads or writes the states of a request between its first read and its last
///   write. That takes a transaction, a script beside the data, or a lock that all processes take.
/// - The time is the request's clock, where it has one, else the storage's. It is read after the states are
///   held.
/// - Each state that changed is stored under [`Charge::storage_key`](super::Charge::storage_key) for its
///   [`State::lifetime`](crate::State::lifetime), of a denied request too: it may have been blocked, or the
///   clock set back. Where the request has a clock, it is kept [`ChargeRequest::TTL_MARGIN`] longer.
/// - A request whose caller has gone away is carried out as a whole, or not at all.
pub trait AtomicStorage: Storage {
    /// Charges every rule of the request, or none if one of them denies.
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome>;

    /// Answers as [`AtomicStorage::acquire`] would, but charges nothing and shuts nothing.
    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome>;

    /// Gives charges back, each to what was charged.
    ///
    /// After an error with [`Effect::None`](super::Effect::None) the caller refunds all of them again: if one of several
    /// was carried out, return an error [with an unknown effect](StorageError::with_unknown_effect). That is not needed
    /// if the error is [of a key](StorageError::is_of_key).
    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()>;

    /// Forgets the keys of the request, blocks included.
    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()>;

    /// Says who shares the limits that are kept here.
    fn scope(&self) -> Scope;

    /// Returns where lists can be kept that all servers share, if this storage can keep them.
    fn lists(&self) -> Option<Arc<dyn ListStorage>>;

    /// Returns where the places of requests under way are counted, if this storage can count them.
    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>>;

    /// Returns the greatest limit of a sliding window log that this storage serves.
    ///
    /// Provided: [`MAX_LOG_LIMIT`]. A limiter returns an error for a rule with a greater one. For storages where
    /// a walk over the entries of one key holds up all others.
    fn max_log_limit(&self) -> u64 {
        MAX_LOG_LIMIT
    }

    /// Names the kind of storage for people: `memory`, `redis`. It is in [`Status`](crate::Status).
    fn kind(&self) -> &str;
}

/// Says who shares the limits that a storage keeps.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "either one process or several")]
pub enum Scope {
    /// The limiters of one process.
    Process,
    /// All processes that use the same storage.
    Shared,
}
