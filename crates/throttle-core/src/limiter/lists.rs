//! The allow list and the deny list.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    entry::{Entry, InvalidEntry, Matches},
    key::Key,
    storage::ListEntry,
    time::{Clock, Micros, SystemClock},
};

/// The keys that are always allowed: exact keys, addresses, and networks in CIDR notation.
///
/// An [`Entry`] that is an address or a network matches every key that was created from an address in it. It does not
/// match texts, which a client may have chosen. Any other entry matches exactly its key. Requests of these keys are not
/// charged. A key in both lists is denied.
///
/// ```
/// # use throttle_core::{Limiter, InvalidEntry};
/// # fn example(limiter: &Limiter) -> Result<(), InvalidEntry> {
/// limiter.allow_list().add("10.0.0.0/8")?;
/// limiter.allow_list().add("user:42")?;
/// # Ok(()) }
/// ```
pub struct AllowList(Lists);

/// The keys that are always denied, permanently or for a time. It has the same entries as [`AllowList`].
///
/// Here an address or a network also matches a key that is the text of an address: with such a text a client can only
/// deny itself. A key that is [opaque](Key::opaque), such as one from a header field, does not match.
///
/// ```
/// # use std::time::Duration;
/// # use throttle_core::{Limiter, InvalidEntry};
/// # fn example(limiter: &Limiter) -> Result<(), InvalidEntry> {
/// limiter.deny_list().add("198.51.100.0/24")?;
/// limiter.deny_list().add_for("203.0.113.9", Duration::from_secs(3600))?;
/// # Ok(()) }
/// ```
pub struct DenyList(Lists);

macro_rules! common {
    ($list:ident, reads_texts: $reads_texts:literal) => {
        impl $list {
            pub(super) fn new(clock: Option<Arc<dyn Clock>>) -> Self {
                let list =
                    || List { clock: clock.clone(), reads_texts: $reads_texts, ..List::default() };
                Self(Lists { own: list(), shared: list() })
            }

            /// Adds an entry that stays until it is removed.
            ///
            /// # Errors
            ///
            /// Returns [`InvalidEntry`] for a text that is empty, that looks like an address or a network but is not a
            /// valid one, or that is a network of all addresses.
            pub fn add<E>(&self, entry: E) -> Result<(), InvalidEntry>
            where
                E: TryInto<Entry, Error: Into<InvalidEntry>>,
            {
                self.0.own.insert(entry.try_into().map_err(Into::into)?, None);
                Ok(())
            }

            /// Adds exactly this key, for example from a [`Violation`](super::Violation), until it is
            /// [removed](Self::remove_key).
            ///
            /// A key that is the text of an address differs from the key that was created from that address.
            pub fn add_key<'k>(&self, key: impl Into<Key<'k>>) {
                self.0.own.insert(Entry::key(key), None);
            }

            /// Removes exactly this key, and returns whether it was in the list.
            pub fn remove_key<'k>(&self, key: impl Into<Key<'k>>) -> bool {
                self.0.own.remove(&Entry::key(key))
            }

            /// Removes an entry, and returns whether it was in the list.
            ///
            /// # Errors
            ///
            /// Returns [`InvalidEntry`] for the same entries as `add`.
            pub fn remove<E>(&self, entry: E) -> Result<bool, InvalidEntry>
            where
                E: TryInto<Entry, Error: Into<InvalidEntry>>,
            {
                Ok(self.0.own.remove(&entry.try_into().map_err(Into::into)?))
            }

            /// Returns whether the list matches a key now.
            pub fn contains<'k>(&self, key: impl Into<Key<'k>>) -> bool {
                self.find(&key.into()).is_some()
            }

            /// Returns the number of entries in force, including shared ones.
            #[must_use]
            pub fn len(&self) -> usize {
                self.0.own.len() + self.0.shared.len()
            }

            /// Returns whether the list has no entries in force.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Replaces the shared entries.
            pub(super) fn replace_shared(&self, entries: Vec<ListEntry>) {
                self.0.shared.replace(entries);
            }

            /// Applies changes of the shared entries.
            pub(super) fn change_shared(&self, changes: Vec<ListEntry>) {
                self.0.shared.change(changes);
            }

            /// Removes all entries that were added to this list; shared entries stay.
            pub fn clear(&self) {
                self.0.own.clear();
            }

            /// Returns whether the list matches a key, and if its entry has an end, the time until then.
            #[inline]
            pub(super) fn find(&self, key: &Key<'_>) -> Option<Option<Micros>> {
                self.0.find(key)
            }
        }

        impl fmt::Debug for $list {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($list)).field("len", &self.len()).finish_non_exhaustive()
            }
        }
    };
}

common!(AllowList, reads_texts: false);
common!(DenyList, reads_texts: true);

impl DenyList {
    /// Adds an entry for `span` of the limiter's clock; an existing entry gets the new end.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidEntry`] for the same entries as [`DenyList::add`].
    pub fn add_for<E>(&self, entry: E, span: Duration) -> Result<(), InvalidEntry>
    where
        E: TryInto<Entry, Error: Into<InvalidEntry>>,
    {
        self.0.own.insert(entry.try_into().map_err(Into::into)?, Some(Micros::from(span)));
        Ok(())
    }

    /// Adds exactly this key, as [`add_key`](Self::add_key) does, for `span` of the limiter's clock.
    ///
    /// A callback that holds its limiter, as in this example, keeps the limiter alive until the program ends.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use throttle_core::Limiter;
    /// # fn example(limiter: Limiter) {
    /// let handle = limiter.clone();
    /// limiter.on_violation(move |violation| {
    ///     handle.deny_list().add_key_for(&violation.key, Duration::from_secs(600));
    /// });
    /// # }
    /// ```
    pub fn add_key_for<'k>(&self, key: impl Into<Key<'k>>, span: Duration) {
        self.0.own.insert(Entry::key(key), Some(Micros::from(span)));
    }
}

/// The entries of this limiter, and those that servers share.
struct Lists {
    own: List,
    shared: List,
}

impl Lists {
    /// Finds a key; if both have an entry, the one that lasts longer counts.
    #[inline]
    fn find(&self, key: &Key<'_>) -> Option<Option<Micros>> {
        let (own, shared) = (self.own.find(key), self.shared.find(key));
        match (own, shared) {
            (Some(own), Some(shared)) => Some(own.zip(shared).map(|(own, shared)| own.max(shared))),
            (own, shared) => own.or(shared),
        }
    }
}

#[derive(Default)]
struct List {
    /// Lets a check skip the lock of an empty list, which is the usual case.
    used: AtomicBool,
    entries: RwLock<Entries>,
    clock: Option<Arc<dyn Clock>>,
    /// Whether the text of an address matches like the address.
    reads_texts: bool,
}

#[derive(Default)]
struct Entries {
    keys: HashMap<Key<'static>, Term>,
    /// The keys that were created from addresses; keys with the same text are different.
    address_keys: HashMap<Key<'static>, Term>,
    nets: HashMap<IpNet, Term>,
    /// The prefix lengths of the networks. A search needs one look-up for each.
    prefixes: Vec<u8>,
    /// The number of entries at which expired ones are removed.
    purge_at: usize,
}

/// The term of an entry, which may have an end.
struct Term(Option<Timed>);

/// An end that moves back with the clock, so a clock that steps back does not extend the term.
struct Timed {
    until: AtomicU64,
    span: Micros,
}

impl List {
    fn insert(&self, entry: Entry, span: Option<Micros>) {
        let now = self.now();
        let mut entries = self.write();
        entries.purge(now);
        entries.insert(entry, Term::new(now, span));
        self.used.store(true, Relaxed);
    }

    /// Replaces all entries.
    fn replace(&self, entries: Vec<ListEntry>) {
        let now = self.now();
        let mut new = Entries::default();
        for ListEntry { entry, left, .. } in entries {
            new.insert(entry, Term::new(now, left.map(Micros::from)));
        }
        new.purge_at = 2 * new.len() + 64;
        let is_used = !new.is_empty();
        {
            let mut entries = self.write();
            std::mem::swap(&mut *entries, &mut new);
            self.used.store(is_used, Relaxed);
        }
        drop(new); // the old entries, which may be many, after the lock is released
    }

    fn change(&self, changes: Vec<ListEntry>) {
        if changes.is_empty() {
            return;
        }
        let now = self.now();
        let mut entries = self.write();
        for ListEntry { entry, left, .. } in changes {
            match left {
                Some(Duration::ZERO) => drop(entries.remove(&entry)),
                left => entries.insert(entry, Term::new(now, left.map(Micros::from))),
            }
        }
        entries.purge(now);
        self.used.store(!entries.is_empty(), Relaxed);
    }

    /// Removes an entry, and returns whether it was in force.
    fn remove(&self, entry: &Entry) -> bool {
        let now = self.now();
        let term = self.write().remove(entry);
        term.is_some_and(|term| term.left(now).is_some())
    }

    fn clear(&self) {
        let mut entries = self.write();
        *entries = Entries::default();
        self.used.store(false, Relaxed); // under the lock, so that it matches the entries
    }

    fn len(&self) -> usize {
        let now = self.now();
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let keys = entries.keys.values().chain(entries.address_keys.values());
        let terms = keys.chain(entries.nets.values());
        terms.filter(|term| term.left(now).is_some()).count()
    }

    #[inline]
    fn find(&self, key: &Key<'_>) -> Option<Option<Micros>> {
        if self.used.load(Relaxed) { self.search(key) } else { None }
    }

    fn search(&self, key: &Key<'_>) -> Option<Option<Micros>> {
        let now = self.now();
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, address) = match key.address() {
            Some(address) => (&entries.address_keys, Some(address)),
            None if self.reads_texts => (&entries.keys, key.address_in_text()),
            None => (&entries.keys, None),
        };
        let keys: &HashMap<Key<'_>, Term> = keys;
        let exact = keys.get(key).and_then(|term| term.left(now));
        let (Some(address), false) = (address, entries.nets.is_empty()) else { return exact };
        let nets = entries.prefixes.iter().filter_map(|&prefix| IpNet::new(address, prefix).ok());
        nets.filter_map(|net| entries.nets.get(&net.trunc())?.left(now))
            .chain(exact)
            .max_by_key(|left| left.unwrap_or(Micros::MAX))
    }

    fn now(&self) -> Micros {
        self.clock.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.now())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn insert(&mut self, entry: Entry, term: Term) {
        match entry.into_matches() {
            Matches::Key(key) => drop(self.keys.insert(key, term)),
            Matches::AddressKey(key) => drop(self.address_keys.insert(key, term)),
            Matches::Network(net) => {
                if !self.prefixes.contains(&net.prefix_len()) {
                    self.prefixes.push(net.prefix_len());
                }
                self.nets.insert(net, term);
            }
        }
    }

    fn remove(&mut self, entry: &Entry) -> Option<Term> {
        match entry.matches() {
            Matches::Key(key) => self.keys.remove(key),
            Matches::AddressKey(key) => self.address_keys.remove(key),
            Matches::Network(net) => self.nets.remove(net),
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.keys.len() + self.address_keys.len() + self.nets.len()
    }

    /// Removes expired entries, so rarely that the cost per added entry is constant on average.
    fn purge(&mut self, now: Micros) {
        if self.len() < self.purge_at {
            return;
        }
        self.keys.retain(|_, term| term.left(now).is_some());
        self.address_keys.retain(|_, term| term.left(now).is_some());
        self.nets.retain(|_, term| term.left(now).is_some());
        self.purge_at = 2 * self.len() + 64;
    }
}

impl Term {
    fn new(now: Micros, span: Option<Micros>) -> Self {
        let until = |span| AtomicU64::new(now.plus(span).get());
        Self(span.map(|span| Timed { until: until(span), span }))
    }

    /// Returns whether the entry is in force, and if it has an end, the time until then.
    fn left(&self, now: Micros) -> Option<Option<Micros>> {
        let Some(timed) = &self.0 else {
            return Some(None);
        };
        let latest = now.plus(timed.span).get();
        let until = timed.until.fetch_min(latest, Relaxed).min(latest);
        let left = Micros::new(until).since(now);
        (left > Micros::ZERO).then_some(Some(left))
    }
}

#[cfg(test)]
mod tests;
