//! Places: how many requests of a key may be under way at once.

use std::fmt;

use super::reply::Reply;
use crate::key::Key;

/// Keeps count of the places that requests hold, exactly, for all who share the storage.
///
/// A storage says that it can by [`AtomicStorage::concurrency`](super::AtomicStorage::concurrency); one that
/// decides for a single process hands out [`LocalPermits`](super::LocalPermits). Users reach it by
/// [`Limiter::concurrency`](crate::Limiter::concurrency).
///
/// A place is given back by dropping its [`PermitGuard`], from any thread and without anybody waiting. A
/// call to [`ConcurrencyStorage::take`] that is dropped before its answer came holds no place afterwards. A
/// storage that several processes share takes back by itself what a process that died had held, and
/// renews what the others hold.
pub trait ConcurrencyStorage: Send + Sync + 'static {
    /// Takes a place of a key if fewer than `limit` are held.
    fn take(&self, of: &ConcurrencyKey<'_>, limit: u64) -> Reply<PermitReply>;

    /// Returns how many places of a key are held.
    fn in_use(&self, of: &ConcurrencyKey<'_>) -> Reply<u64>;
}

/// Names whose places are meant: of a key, under a name.
#[derive(Copy, Clone, Debug)]
pub struct ConcurrencyKey<'a> {
    name: &'a str,
    key: &'a Key<'a>,
}

impl<'a> ConcurrencyKey<'a> {
    /// Means the places of `key` under `name`.
    #[must_use]
    pub fn new(name: &'a str, key: &'a Key<'a>) -> Self {
        Self { name, key }
    }

    /// Returns the name of the limit.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Returns whose they are.
    #[must_use]
    pub fn key(&self) -> &'a Key<'a> {
        self.key
    }

    /// Returns how they are called beside the identity in a storage of texts: no rule is called so,
    /// since what follows a `%` in the word of a name is hexadecimal.
    #[must_use]
    pub fn word(&self) -> String {
        format!("%places:{}", Key::from(self.name).to_token())
    }
}

/// Answers whether there was a place.
#[derive(Debug)]
pub struct PermitReply {
    place: Option<PermitGuard>,
    in_use: u64,
    degraded: bool,
}

impl PermitReply {
    /// Hands a place over; `in_use` counts it.
    #[must_use]
    pub fn permit(place: PermitGuard, in_use: u64) -> Self {
        Self { place: Some(place), in_use, degraded: false }
    }

    /// Says that so many are held, and that no more may be.
    #[must_use]
    pub fn full(in_use: u64) -> Self {
        Self { place: None, in_use, degraded: false }
    }

    /// Marks the answer as one that the storage itself did not give, because it could not.
    #[must_use]
    pub fn degraded(mut self) -> Self {
        self.degraded = true;
        self
    }

    /// Returns how many places of the key are held, this one included.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Returns whether something else than the storage answered.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Returns the place, if there was one.
    #[must_use]
    pub fn into_permit(self) -> Option<PermitGuard> {
        self.place
    }
}

/// Holds a place of a storage until it is dropped.
#[must_use = "the place is given back when this is dropped"]
pub struct PermitGuard {
    _held: Option<Box<dyn Held>>,
}

trait Held: Send + Sync {}

impl<T: Send + Sync> Held for T {}

impl PermitGuard {
    /// Holds a place for as long as `guard` lives, whose `Drop` gives it back.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self { _held: Some(Box::new(guard)) }
    }

    /// Holds nothing: the request passes, and is not counted.
    pub fn uncounted() -> Self {
        Self { _held: None }
    }
}

impl fmt::Debug for PermitGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self._held.is_some() { "PermitGuard" } else { "PermitGuard(uncounted)" })
    }
}
