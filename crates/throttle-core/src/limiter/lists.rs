//! Keys that always pass, and keys that never do.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ipnet::IpNet;

use super::error::InvalidEntry;
use crate::{
    key::Key,
    rule::error::quoted,
    storage::ListEntry,
    time::{Clock, Micros, SystemClock},
};

/// Holds keys that always pass: exact keys, addresses, and networks by CIDR.
///
/// An entry that reads as an address or a network is one, and matches every key that was made from an
/// address within it; any other entry matches the key of that text. Nothing is charged for them. A
/// key that stands in both lists is denied.
///
/// ```
/// # use throttle_core::{Limiter, InvalidEntry};
/// # fn example(limiter: &Limiter) -> Result<(), InvalidEntry> {
/// limiter.allow_list().add("10.0.0.0/8")?;
/// limiter.allow_list().add("user:42")?;
/// # Ok(()) }
/// ```
pub struct AllowList(Lists);

/// Holds keys that never pass, for good or for a time, by the same entries as [`AllowList`].
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
    ($list:ident) => {
        impl $list {
            pub(super) fn new(clock: Option<Arc<dyn Clock>>) -> Self {
                let own = List { clock: clock.clone(), ..List::default() };
                Self(Lists { own, shared: List { clock, ..List::default() } })
            }

            /// Adds an entry that stays until it is removed.
            ///
            /// # Errors
            ///
            /// [`InvalidEntry`] when it is empty, or looks like a network but is none.
            pub fn add(&self, entry: &str) -> Result<(), InvalidEntry> {
                self.0.own.insert(Entry::read(entry)?, None);
                Ok(())
            }

            /// Adds exactly this key, whatever it reads, such as that of a
            /// [`Violation`](super::Violation); it stays until it is [removed](Self::remove_key). What a
            /// client chose is not the key of the address that it reads as, nor the other way round.
            pub fn add_key<'k>(&self, key: impl Into<Key<'k>>) {
                self.0.own.insert(Entry::Key(key.into().into_owned()), None);
            }

            /// Removes exactly this key and returns whether it was there.
            pub fn remove_key<'k>(&self, key: impl Into<Key<'k>>) -> bool {
                self.0.own.take(&Entry::Key(key.into().into_owned()))
            }

            /// Removes an entry and returns whether it was there.
            ///
            /// # Errors
            ///
            /// [`InvalidEntry`] as for `add`.
            pub fn remove(&self, entry: &str) -> Result<bool, InvalidEntry> {
                Ok(self.0.own.take(&Entry::read(entry)?))
            }

            /// Returns whether a key is found in the list now.
            pub fn contains<'k>(&self, key: impl Into<Key<'k>>) -> bool {
                self.find(&key.into()).is_some()
            }

            /// Returns how many entries are in force, those that servers share among them.
            #[must_use]
            pub fn len(&self) -> usize {
                self.0.own.len() + self.0.shared.len()
            }

            /// Returns whether no entry is in force.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Takes the entries that servers share, in place of those before.
            pub(super) fn replace_shared<'e>(&self, entries: impl Iterator<Item = &'e ListEntry>) {
                self.0.shared.replace(entries);
            }

            /// Removes all entries that were added here; those that servers share stay.
            pub fn clear(&self) {
                self.0.own.clear();
            }

            /// Finds a key; for an entry with an end, says how long it lasts yet.
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

common!(AllowList);
common!(DenyList);

impl DenyList {
    /// Adds an entry that ends after `span`, by the limiter's clock; an entry that is there gets the
    /// new end.
    ///
    /// # Errors
    ///
    /// [`InvalidEntry`] as for [`DenyList::add`].
    pub fn add_for(&self, entry: &str, span: Duration) -> Result<(), InvalidEntry> {
        self.0.own.insert(Entry::read(entry)?, Some(Micros::from(span)));
        Ok(())
    }

    /// Adds exactly this key, as [`add_key`](Self::add_key), for `span` as [`add_for`](Self::add_for) does.
    ///
    /// A callback that holds the limiter, as here, keeps it for as long as the program runs.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use throttle_core::Limiter;
    /// # fn example(limiter: Limiter) {
    /// let bans = limiter.clone();
    /// limiter.on_violation(move |violation| {
    ///     bans.deny_list().add_key_for(&violation.key, Duration::from_secs(600));
    /// });
    /// # }
    /// ```
    pub fn add_key_for<'k>(&self, key: impl Into<Key<'k>>, span: Duration) {
        self.0.own.insert(Entry::Key(key.into().into_owned()), Some(Micros::from(span)));
    }
}

/// A list of this limiter's own, and one that servers share.
struct Lists {
    own: List,
    shared: List,
}

impl Lists {
    /// Finds a key; of two entries the one that lasts longer counts.
    #[inline]
    fn find(&self, key: &Key<'_>) -> Option<Option<Micros>> {
        let (own, shared) = (self.own.find(key), self.shared.find(key));
        match (own, shared) {
            (Some(own), Some(shared)) => Some(own.zip(shared).map(|(own, shared)| own.max(shared))),
            (own, shared) => own.or(shared),
        }
    }
}

/// Says what is wrong with an entry, if it is none.
pub(super) fn check_entry(entry: &str) -> Result<(), InvalidEntry> {
    Entry::read(entry).map(|_| ())
}

#[derive(Default)]
struct List {
    used: AtomicBool,
    entries: RwLock<Entries>,
    clock: Option<Arc<dyn Clock>>,
}

#[derive(Default)]
struct Entries {
    keys: HashMap<Key<'static>, Term>,
    /// Keys that are addresses, apart from those of others that read the same.
    addresses: HashMap<Key<'static>, Term>,
    nets: HashMap<IpNet, Term>,
    /// The prefix lengths that occur among the networks: one look-up each.
    prefixes: Vec<u8>,
    /// How many entries there may be before the ended ones are cleared away.
    purge_at: usize,
}

enum Entry {
    Key(Key<'static>),
    Net(IpNet),
}

/// How long an entry is in force.
struct Term(Option<Timed>);

/// An end that moves back with the clock, so that a step back does not prolong it.
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

    /// Takes these entries in place of all; what is no entry is left out.
    fn replace<'e>(&self, taken: impl Iterator<Item = &'e ListEntry>) {
        let now = self.now();
        let mut new = Entries::default();
        for ListEntry { entry, left, .. } in taken {
            if let Ok(read) = Entry::read(entry) {
                new.insert(read, Term::new(now, left.map(Micros::from)));
            }
        }
        let mut entries = self.write();
        self.used.store(!new.is_empty(), Relaxed);
        *entries = new;
    }

    /// Removes an entry and returns whether it was in force.
    fn take(&self, entry: &Entry) -> bool {
        let now = self.now();
        let mut entries = self.write();
        let term = match entry {
            Entry::Key(key) => entries.keys_like_mut(key).remove(key),
            Entry::Net(net) => entries.nets.remove(net),
        };
        term.is_some_and(|term| term.left(now).is_some())
    }

    fn clear(&self) {
        let mut entries = self.write();
        *entries = Entries::default();
        self.used.store(false, Relaxed); // under the lock, as in `add`
    }

    fn len(&self) -> usize {
        let now = self.now();
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let keys = entries.keys.values().chain(entries.addresses.values());
        let terms = keys.chain(entries.nets.values());
        terms.filter(|term| term.left(now).is_some()).count()
    }

    #[inline]
    fn find(&self, key: &Key<'_>) -> Option<Option<Micros>> {
        if self.used.load(Relaxed) { self.search(key) } else { None }
    }

    fn search(&self, key: &Key<'_>) -> Option<Option<Micros>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let address = key.address();
        let keys: &HashMap<Key<'_>, Term> = match address {
            Some(_) => &entries.addresses,
            None => &entries.keys,
        };
        let exact = keys.get(key).and_then(|term| term.left(self.now()));
        let (Some(address), false) = (address, entries.nets.is_empty()) else { return exact };
        let now = self.now();
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
        match entry {
            Entry::Key(key) => drop(self.keys_like_mut(&key).insert(key, term)),
            Entry::Net(net) => {
                if !self.prefixes.contains(&net.prefix_len()) {
                    self.prefixes.push(net.prefix_len());
                }
                self.nets.insert(net, term);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.keys.len() + self.addresses.len() + self.nets.len()
    }

    fn keys_like_mut(&mut self, key: &Key<'_>) -> &mut HashMap<Key<'static>, Term> {
        match key.address() {
            Some(_) => &mut self.addresses,
            None => &mut self.keys,
        }
    }

    /// Clears ended entries away, so seldom that an `add` costs the same on average.
    fn purge(&mut self, now: Micros) {
        if self.len() < self.purge_at {
            return;
        }
        self.keys.retain(|_, term| term.left(now).is_some());
        self.addresses.retain(|_, term| term.left(now).is_some());
        self.nets.retain(|_, term| term.left(now).is_some());
        self.purge_at = 2 * self.len() + 64;
    }
}

impl Entry {
    fn read(entry: &str) -> Result<Self, InvalidEntry> {
        let wrong = |why| InvalidEntry { entry: quoted(entry), why };
        if entry.is_empty() {
            return Err(wrong("it is empty"));
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Ok(Self::Net(IpNet::from(address.to_canonical())));
        }
        if let Ok(net) = entry.parse::<IpNet>() {
            return Ok(Self::Net(canonical(net).trunc()));
        }
        if entry.trim() != entry {
            return Err(wrong("there is space around it"));
        }
        match entry.split_once('/') {
            Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
                Err(wrong("its prefix length does not fit its address"))
            }
            _ if resembles_address(entry) => {
                Err(wrong("it is no address, though it looks like one"))
            }
            _ => Ok(Self::Key(Key::from(entry).into_owned())),
        }
    }
}

/// Returns whether somebody who wrote this meant an address or a network: `10.0.0.256`, `10.0.0/8`,
/// `[::1]`.
fn resembles_address(entry: &str) -> bool {
    let (host, prefix) = entry.split_once('/').unwrap_or((entry, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let dots = host.matches('.').count();
    let dotted = !host.is_empty() && host.split('.').all(|part| !part.is_empty() && digits(part));
    let is_network = entry.contains('/') && digits(prefix);
    (dotted && dots > 0 && (dots == 3 || is_network)) || host.starts_with('[')
}

/// Turns a network of IPv4 addresses in their IPv6 mapping into one of IPv4.
fn canonical(net: IpNet) -> IpNet {
    let prefix = net.prefix_len().checked_sub(96);
    match (net.addr().to_canonical(), prefix) {
        (IpAddr::V4(v4), Some(prefix)) if matches!(net, IpNet::V6(_)) => {
            IpNet::new(IpAddr::V4(v4), prefix).unwrap_or(net)
        }
        _ => net,
    }
}

impl Term {
    fn new(now: Micros, span: Option<Micros>) -> Self {
        let until = |span| AtomicU64::new(now.plus(span).get());
        Self(span.map(|span| Timed { until: until(span), span }))
    }

    /// Returns whether the entry is in force and, if it ends, how long yet.
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
