//! The two traits of a storage: six operations, and whole checks.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    charge::Refund, concurrency::ConcurrencyStorage, error::StorageError, lists::ListStorage,
    reply::Reply, request::ChargeRequest, value::Value,
};
use crate::{complete_on_drop::Work, rule::checked::MAX_LOG_LIMIT, time::Clock, verdict::Outcome};

/// A storage of values under keys, with six operations. A custom storage needs only these.
///
/// They suffice for every algorithm, with exact results as long as only one process uses the storage
/// ([`Emulated`](super::Emulated)). A storage that can decide a whole request atomically for several processes also
/// implements [`AtomicStorage`], and overrides [`Storage::atomic`]. A storage that wraps another one implements
/// [`Wrapper`](super::Wrapper) instead.
///
/// The contract, which the conformance suite of `throttle-testkit` checks:
///
/// - An expired key is absent, even if it has not been accessed since it expired.
/// - `increment` is atomic. Its `ttl` applies only to new keys; an existing key keeps its lifetime.
/// - `clear` removes only the keys of this storage, and no other data in the same database.
/// - The limiter uses the keys of [`Charge::storage_key`](super::Charge::storage_key): printable ASCII without spaces,
///   up to 963 bytes. Clients choose parts of them, which may include slashes and dots. Users may call the operations
///   with any text as the key; the suite tests a key of 64 KiB.
/// - Values are arbitrary bytes, possibly empty; the suite tests a value of 1 MiB.
/// - Calls are made on the tasks that serve requests. A blocking call must run on a suitable thread, for example with
///   `tokio::task::spawn_blocking`.
///
/// # Examples
///
/// A storage in a map:
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
///     /// Calls `work` with the live value of a key; an expired one counts as absent.
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
    /// Returns the value of a key, or `None` if it is absent or expired.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if the storage cannot be read.
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError>;

    /// Sets the value and the lifetime of a key; without `ttl` it does not expire.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if the value was not stored, or may not have been stored.
    async fn set(&self, key: &str, value: Value, ttl: Option<Duration>)
    -> Result<(), StorageError>;

    /// Adds `amount` to the integer under a key atomically, and returns the sum.
    ///
    /// An absent key counts as 0. `ttl` applies only to new keys; an existing key keeps its lifetime.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if the value is not an integer or the sum does not fit, in which case the value is
    /// unchanged, or when the call failed.
    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError>;

    /// Removes a key, and returns whether it existed and was not expired.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if the key was not removed, or may not have been removed.
    async fn delete(&self, key: &str) -> Result<bool, StorageError>;

    /// Returns whether a key exists and is not expired.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if the storage cannot be read.
    async fn exists(&self, key: &str) -> Result<bool, StorageError>;

    /// Removes every key of this storage, and returns their number.
    ///
    /// # Errors
    ///
    /// Returns [`StorageError`] if some keys may be left.
    async fn clear(&self) -> Result<u64, StorageError>;

    /// Returns the storage as one that decides whole requests.
    ///
    /// The default implements every algorithm on top of the six operations, exact in one process. A storage that
    /// implements [`AtomicStorage`] must return itself here; otherwise its implementation is not used.
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

/// A storage that decides whole requests, each in one atomic step.
///
/// A storage that wraps another implements [`Wrapper`](super::Wrapper) instead. Its answers must equal those of
/// [`crate::acquire`], regardless of its language; the conformance suite of `throttle-testkit` checks that.
///
/// - The storage returns itself from [`Storage::atomic`].
/// - A request is atomic: no other request reads or writes its states between its first read and its last write. This
///   requires a transaction, a script that runs in the database, or a lock that all processes use.
/// - The time is from the request's clock if it has one, otherwise from the storage's clock. It is read when the
///   states are already held.
/// - Each changed state is stored under [`Charge::storage_key`](super::Charge::storage_key) for its
///   [`State::lifetime`](crate::State::lifetime). This includes denied requests, which may start a block or show that
///   the clock stepped back. If the request has a clock, add [`ChargeRequest::TTL_MARGIN`].
/// - A request whose caller stops waiting is carried out completely, or not at all.
pub trait AtomicStorage: Storage {
    /// Charges every rule of the request, or none if one of them denies.
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome>;

    /// Returns the decision that [`AtomicStorage::acquire`] would make, but charges nothing and blocks nothing.
    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome>;

    /// Refunds charges, each to the window or bucket that was charged.
    ///
    /// After an error with [`Effect::None`](super::Effect::None) the caller may refund all of them again. If some were
    /// carried out, return an error [with an unknown effect](StorageError::with_unknown_effect); this is not necessary
    /// if the error concerns [a single key](StorageError::is_of_key).
    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()>;

    /// Removes the states of the request, including blocks, and returns whether one was stored.
    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool>;

    /// Returns whether the limits hold for one process or for all that share the storage.
    fn scope(&self) -> Scope;

    /// Returns the storage of shared lists, if it is supported.
    fn lists(&self) -> Option<Arc<dyn ListStorage>>;

    /// Returns the storage of concurrency permits, if it is supported.
    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>>;

    /// Returns the highest limit of a sliding window log that this storage supports; default [`MAX_LOG_LIMIT`].
    ///
    /// A limiter returns an error for a rule with a higher limit. Override it if all other keys wait while the storage
    /// iterates over the entries of one key.
    fn max_log_limit(&self) -> u64 {
        MAX_LOG_LIMIT
    }

    /// Completes what the storage does in the background, for [`Limiter::shutdown`](crate::Limiter::shutdown), which
    /// sets the deadline. Default: there is nothing to complete.
    ///
    /// Later calls must still be answered. An error means that something was lost, such as the release of a permit.
    fn shutdown(&self) -> Reply<()> {
        Reply::ready(Ok(()))
    }

    /// Runs work on a runtime that lives as long as the storage, or returns it, which is the default.
    ///
    /// # Errors
    ///
    /// Returns the work if the storage has no runtime of its own.
    #[doc(hidden)] // of our own crates
    fn spawn(&self, work: Work) -> Result<(), Work> {
        Err(work)
    }

    /// Returns the kind of storage for display, such as `memory` or `redis`, as in [`Status`](crate::Status).
    fn kind(&self) -> &str;
}

/// The scope of the limits of a storage.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "either one process or several")]
pub enum Scope {
    /// One process: its limiters that use the storage share the limits.
    Process,
    /// All processes that use the same storage share the limits.
    Shared,
}
