//! Concurrency permits: the limit on the requests of a key that are in flight at once.

use std::fmt;

use super::reply::Reply;
use crate::key::Key;

/// A storage of concurrency permits, with an exact count for all processes that share it.
///
/// A storage that supports permits returns one from
/// [`AtomicStorage::concurrency`](super::AtomicStorage::concurrency); a storage for a single process returns
/// [`LocalPermits`](super::LocalPermits). Users call [`Limiter::concurrency`](crate::Limiter::concurrency).
///
/// Dropping a [`PermitGuard`] releases its permit, on any thread and without waiting. A call to
/// [`ConcurrencyStorage::take`] that is dropped before it is answered does not leave a permit in use. A storage that
/// several processes share releases the permits of a process that died, and renews the permits of running processes.
pub trait ConcurrencyStorage: Send + Sync + 'static {
    /// Acquires a permit of a key if fewer than `limit` are in use.
    fn take(&self, of: &ConcurrencyKey<'_>, limit: u64) -> Reply<PermitReply>;

    /// Returns the number of permits of a key that are in use.
    fn in_use(&self, of: &ConcurrencyKey<'_>) -> Reply<u64>;
}

/// The key of a group of permits: the name of the limit, and the key of the request.
#[derive(Copy, Clone, Debug)]
pub struct ConcurrencyKey<'a> {
    name: &'a str,
    key: &'a Key<'a>,
}

impl<'a> ConcurrencyKey<'a> {
    /// Creates the key of the permits of `key` under the limit `name`.
    #[must_use]
    pub fn new(name: &'a str, key: &'a Key<'a>) -> Self {
        Self { name, key }
    }

    /// Returns the name of the limit.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Returns the key of the request.
    #[must_use]
    pub fn key(&self) -> &'a Key<'a> {
        self.key
    }

    /// Returns the part of a text key that follows the identity.
    ///
    /// It differs from the token of every rule name, in which only hexadecimal digits follow a `%`.
    #[must_use]
    pub fn to_token(&self) -> String {
        format!("%places:{}", Key::from(self.name).to_token())
    }
}

/// The answer to an attempt to acquire a permit.
#[derive(Debug)]
pub struct PermitReply {
    permit: Option<PermitGuard>,
    in_use: u64,
    degraded: bool,
}

impl PermitReply {
    /// Creates the answer with a permit, which is included in `in_use`.
    #[must_use]
    pub fn permit(permit: PermitGuard, in_use: u64) -> Self {
        Self { permit: Some(permit), in_use, degraded: false }
    }

    /// Creates the answer without a permit: `in_use` permits are in use, and the limit is reached.
    #[must_use]
    pub fn full(in_use: u64) -> Self {
        Self { permit: None, in_use, degraded: false }
    }

    /// Marks the answer as made by a substitute, because the storage itself failed.
    #[must_use]
    pub fn degraded(mut self) -> Self {
        self.degraded = true;
        self
    }

    /// Returns the number of permits of the key that are in use, including this one.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Returns whether a substitute answered instead of the storage.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Returns the permit, if one was acquired.
    #[must_use]
    pub fn into_permit(self) -> Option<PermitGuard> {
        self.permit
    }
}

/// A guard that holds a permit of a storage, and releases it when it is dropped.
#[must_use = "the permit is released when this is dropped"]
pub struct PermitGuard {
    held: Option<Box<dyn Held>>,
}

trait Held: Send + Sync {}

impl<T: Send + Sync> Held for T {}

impl PermitGuard {
    /// Creates a permit from `guard`, whose `Drop` releases it.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self { held: Some(Box::new(guard)) }
    }

    /// Creates a permit for a request that is allowed without being counted.
    pub fn uncounted() -> Self {
        Self { held: None }
    }

    /// Returns whether the storage counts the permit.
    pub(crate) fn is_counted(&self) -> bool {
        self.held.is_some()
    }
}

impl fmt::Debug for PermitGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_counted() { "PermitGuard" } else { "PermitGuard(uncounted)" })
    }
}
