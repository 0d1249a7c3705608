//! The entries of allow and deny lists.

use std::{convert::Infallible, fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

use crate::{key::Key, rule::error::quoted};

/// An entry of an allow or deny list: a key, an address or a network.
///
/// The methods of lists accept every type that converts to an entry:
///
/// | value | entry |
/// | --- | --- |
/// | `IpAddr` | every key that was created from this address |
/// | `&Key`, `Key` | exactly this key, even if its text is an address |
/// | `&str` | the address or network that the text denotes, otherwise the key of that text |
///
/// Use texts for entries that operators write. Add the key of a client, for example from a
/// [`Violation`](crate::Violation), as a `Key`: the client may have chosen its text.
///
/// ```
/// # use throttle_core as ratethrottle;
/// # use ratethrottle::{Entry, InvalidEntry, Limiter};
/// # fn example(limiter: Limiter) -> Result<(), InvalidEntry> {
/// limiter.deny_list().add("198.51.100.0/24")?;
/// limiter.deny_list().add(Entry::network([203, 0, 113, 0].into(), 24)?)?;
/// limiter.on_violation({
///     let limiter = limiter.clone();
///     move |violation| limiter.deny_list().add_key(&violation.key)
/// });
/// assert!(limiter.deny_list().add("0.0.0.0/0").is_err());
/// limiter.deny_list().add(Entry::all_ipv4())?; // closes the service
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Entry(Matches);

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Matches {
    Network(IpNet),
    /// A key that was created from an address.
    AddressKey(Key<'static>),
    /// Any other key.
    Key(Key<'static>),
}

/// The error for a text that is not a valid key, address or network.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entry} is not a valid list entry: {why}; use an address (192.0.2.7), a network \
     (192.0.2.0/24) or a key (user:42)"
)]
pub struct InvalidEntry {
    entry: String,
    why: &'static str,
}

crate::debug_as_text!(InvalidEntry);

const NOT_AN_ADDRESS: &str =
    "it looks like an address but is not one (use `Entry::key` if it is a key)";
const WRONG_PREFIX: &str = "its prefix length does not fit its address";
const ALL_ADDRESSES: &str = "it matches every address; if that is intended, add `Entry::all_ipv4()` \
                             or `Entry::all_ipv6()`";

impl Entry {
    /// Returns the entry of exactly this key, even if its text is an address.
    ///
    /// A key that was created from an address and a key that is the text of that address are two entries.
    pub fn key<'k>(key: impl Into<Key<'k>>) -> Self {
        let key = key.into();
        match key.address() {
            Some(_) => Self(Matches::AddressKey(key.into_owned())),
            None => Self(Matches::Key(key.into_owned())),
        }
    }

    /// Returns the entry of all keys that were created from this address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self(Matches::Network(IpNet::from(address.to_canonical())))
    }

    /// Returns the entry of all keys that were created from an address within a network.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidEntry`] for a prefix length that does not fit the address, and for a prefix length of 0: use
    /// [`Entry::all_ipv4`] or [`Entry::all_ipv6`] instead.
    pub fn network(address: IpAddr, prefix: u8) -> Result<Self, InvalidEntry> {
        let entry = || format!("{address}/{prefix}");
        let wrong = |why| InvalidEntry { entry: quoted(&entry()), why };
        let net = IpNet::new(address, prefix).map_err(|_| wrong(WRONG_PREFIX))?;
        match canonical(net).trunc() {
            net if net.prefix_len() == 0 => Err(wrong(ALL_ADDRESSES)),
            net => Ok(Self(Matches::Network(net))),
        }
    }

    /// Returns the entry of all keys that were created from an IPv4 address.
    #[must_use]
    pub fn all_ipv4() -> Self {
        Self(Matches::Network(IpNet::V4(Default::default())))
    }

    /// Returns the entry of all keys that were created from an IPv6 address.
    #[must_use]
    pub fn all_ipv6() -> Self {
        Self(Matches::Network(IpNet::V6(Default::default())))
    }

    /// Returns the entry as a printable text without spaces, for storages; [`Entry::decode`] reads it.
    #[must_use]
    pub fn encode(&self) -> String {
        match &self.0 {
            Matches::Network(_) => self.to_string(),
            Matches::AddressKey(key) => format!("address-key:{key}"),
            Matches::Key(key) => format!("key:{key}"),
        }
    }

    /// Reads a text that [`Entry::encode`] wrote; returns `None` for any other text.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let matches = if let Some(token) = text.strip_prefix("key:") {
            Matches::Key(Key::from_token(token)?)
        } else if let Some(token) = text.strip_prefix("address-key:") {
            Matches::AddressKey(Key::from_token(token)?)
        } else {
            Matches::Network(network(text)?)
        };
        Some(Self(matches))
    }

    pub(crate) fn matches(&self) -> &Matches {
        &self.0
    }

    pub(crate) fn into_matches(self) -> Matches {
        self.0
    }
}

impl fmt::Display for Entry {
    /// Writes the address, the network, or the key as [`Key::to_token`] does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Matches::Network(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Matches::Network(net) => net.fmt(f),
            Matches::AddressKey(key) | Matches::Key(key) => key.fmt(f),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({})", self.encode())
    }
}

impl FromStr for Entry {
    type Err = InvalidEntry;

    /// Reads an address or a network, and otherwise uses the text as a key.
    fn from_str(entry: &str) -> Result<Self, InvalidEntry> {
        let wrong = |why| InvalidEntry { entry: quoted(entry), why };
        if entry.is_empty() {
            return Err(wrong("it is empty"));
        }
        if let Some(net) = network(entry) {
            return match net.prefix_len() {
                0 => Err(wrong(ALL_ADDRESSES)),
                _ => Ok(Self(Matches::Network(net))),
            };
        }
        if entry.trim() != entry {
            return Err(wrong("it begins or ends with white space"));
        }
        match entry.split_once('/') {
            Some((address, _)) if address.parse::<IpAddr>().is_ok() => Err(wrong(WRONG_PREFIX)),
            _ if resembles_address(entry) => Err(wrong(NOT_AN_ADDRESS)),
            _ => Ok(Self(Matches::Key(Key::from(entry).into_owned()))),
        }
    }
}

impl TryFrom<&str> for Entry {
    type Error = InvalidEntry;

    fn try_from(entry: &str) -> Result<Self, InvalidEntry> {
        entry.parse()
    }
}

impl TryFrom<&String> for Entry {
    type Error = InvalidEntry;

    fn try_from(entry: &String) -> Result<Self, InvalidEntry> {
        entry.parse()
    }
}

impl From<IpAddr> for Entry {
    fn from(address: IpAddr) -> Self {
        Self::address(address)
    }
}

impl From<Key<'_>> for Entry {
    fn from(key: Key<'_>) -> Self {
        Self::key(key)
    }
}

impl From<&Key<'_>> for Entry {
    fn from(key: &Key<'_>) -> Self {
        Self::key(key)
    }
}

impl From<Infallible> for InvalidEntry {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Reads an address, or an address with a prefix length.
fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address.to_canonical())),
        Err(_) => Some(canonical(text.parse().ok()?).trunc()),
    }
}

/// Converts a network of IPv4-mapped IPv6 addresses to the IPv4 network.
fn canonical(net: IpNet) -> IpNet {
    let prefix = net.prefix_len().checked_sub(96);
    match (net.addr().to_canonical(), prefix) {
        (IpAddr::V4(v4), Some(prefix)) if matches!(net, IpNet::V6(_)) => {
            IpNet::new(IpAddr::V4(v4), prefix).unwrap_or(net)
        }
        _ => net,
    }
}

/// Returns whether a text was probably meant as an address, a network or a range.
///
/// Such a text is an error: as a key it would match no client, and the operator would not notice.
fn resembles_address(entry: &str) -> bool {
    entry.starts_with('[') || resembles_v4(entry) || resembles_v6(entry)
}

/// Returns `true` for texts such as `10.0.0.256`, `10.0.0.1:80`, `10.0.0.1-10.0.0.9`, `10.0.0/8` and `10.0.*`, but
/// not for the version `1.2.3`.
fn resembles_v4(entry: &str) -> bool {
    let is_v4 = |c: char| c.is_ascii_digit() || c == '.';
    let host = entry.split_once(|c| !is_v4(c)).map_or(entry, |(host, _)| host);
    let after = entry[host.len()..].chars().next();
    let dots = host.matches('.').count();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match after {
        _ if dots == 0 || !entry.starts_with(|c: char| c.is_ascii_digit()) => false,
        Some('*' | '[') => true,
        Some('/') => entry[host.len() + 1..].bytes().all(|byte| is_v4(byte.into())),
        after => {
            let is_word = after.is_some_and(|c| c.is_alphanumeric() || c == '_');
            dots >= 3 && host.split('.').take(4).all(digits) && !is_word
        }
    }
}

/// Returns `true` for texts such as `2001:db8::zz`, `fe80::1%eth0`, `2001:db8:*` and nine groups, but not for the
/// keys `user:42` and `a:b:c`.
fn resembles_v6(entry: &str) -> bool {
    let Some((first, rest)) = entry.split_once(':') else { return false };
    let is_group = first.len() <= 4 && first.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_short = rest.contains("::") || rest.starts_with(':');
    let is_pattern = !first.is_empty() && rest.ends_with(":*") || rest == "*";
    is_group && (is_short || is_pattern || rest.matches(':').count() >= 6)
}

#[cfg(test)]
mod tests;
