//! The [`Key`] of a request: the client, user or other identity that a rule limits.

use std::{
    fmt::{self, Write as _},
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The longest identity that is stored unchanged, in bytes; a longer one is stored as its SHA-256.
pub const MAX_KEY_LEN: usize = 256;
/// The size that holds the longest IPv6 address with its prefix length, and gives `Inline` 48 bytes.
const INLINE: usize = 47;

/// The identity that is limited: a user, an API key, a client address, or a tuple of such parts.
///
/// Each key has its own count under each rule. An identity may be any bytes, even empty or not UTF-8. An identity
/// longer than [`MAX_KEY_LEN`] is replaced with its SHA-256 ([FIPS 180-4]), so that a client cannot fill the
/// storage with long names. A key whose text is that digest is a different key.
///
/// An address has the text that [`IpAddr`] prints, so `Key::from("192.0.2.1")` and `Key::from(address)` share
/// a limit. An IPv4-mapped IPv6 address is the same key as the IPv4 address.
///
/// Create the key of a client address from the [`IpAddr`], not from its text: the allow list matches addresses and
/// networks only with such keys, since a text may have been chosen by the client.
///
/// ```
/// # use throttle_core as ratethrottle;
/// use ratethrottle::Key;
///
/// assert_eq!(Key::from("user:42").as_str(), Some("user:42"));
/// assert_eq!(Key::from(42_u64), Key::from("42"));
/// assert_ne!(Key::parts(["a", "b|c"]), Key::parts(["a|b", "c"]));
/// let address: std::net::IpAddr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
/// assert_eq!(Key::network(address, 64), Key::from("2001:db8:1:2::/64"));
/// ```
///
/// [FIPS 180-4]: https://csrc.nist.gov/pubs/fips/180-4/upd1/final
#[derive(Clone)]
pub struct Key<'a> {
    bytes: Bytes<'a>,
    address: Address,
}

/// The address of a key, as the lists of a limiter see it.
#[derive(Copy, Clone)]
enum Address {
    /// The key was created from this address.
    Known(IpAddr),
    /// The text of the key may be an address; only the deny list reads it.
    InText,
    /// The key has no address, regardless of its text.
    Never,
}

#[derive(Clone)]
enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Inline(Inline),
    Owned(Box<[u8]>),
    Digest([u8; 32]),
}

#[derive(Copy, Clone)]
struct Inline {
    len: u8,
    bytes: [u8; INLINE],
}

/// The decimal digits of each octet and a dot, and the number of these bytes.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8];
        let last = b'0' + (octet % 10) as u8;
        octets[octet] = match octet {
            0..10 => ([last, b'.', 0, 0], 2),
            10..100 => ([digits[1], last, b'.', 0], 3),
            _ => ([digits[0], digits[1], last, b'.'], 4),
        };
        octet += 1;
    }
    octets
};

impl<'a> Key<'a> {
    /// Joins parts into one key; different parts always give different keys.
    ///
    /// The parts are separated by `|`. A `|` or `%` within a part is written as `%7C` or `%25`.
    pub fn parts<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Key<'static> {
        joined(parts.into_iter().map(|part| (false, part)))
    }

    /// Joins keys into one, as [`Key::parts`] does with their identities.
    ///
    /// The joined key has the address of the first key that was created from an address
    /// ([`Key::network`]), so a client whose address is denied is denied on every route. A key that is the
    /// text of an address has no effect here. The digest of a long identity cannot be imitated by a client.
    pub fn join<'k>(keys: impl IntoIterator<Item = &'k Key<'k>>) -> Key<'static> {
        let mut address = Address::Never;
        let parts = keys.into_iter().map(|key| {
            if let (Address::Never, Address::Known(_)) = (address, key.address) {
                address = key.address;
            }
            (key.is_digest(), key.as_bytes())
        });
        let joined = joined(parts);
        Key { address, ..joined }
    }

    /// Returns the key within the scope `mark`: the same identity has a separate key in each scope.
    ///
    /// It equals [`Key::parts`] of the mark and the identity. Lists still match its address.
    #[must_use]
    pub fn scoped(&self, mark: &str) -> Key<'static> {
        let mark = (false, mark.as_bytes());
        let mut scoped = joined([mark, (self.is_digest(), self.as_bytes())].into_iter());
        scoped.address = self.address().map_or(Address::Never, Address::Known);
        scoped
    }

    /// Returns the key of a client's network: the IPv4 address, or the first `v6_prefix` bits (at most 128) of an
    /// IPv6 address.
    ///
    /// A client usually has a whole IPv6 network, and could otherwise use a new key for each request.
    #[must_use]
    pub fn network(address: IpAddr, v6_prefix: u8) -> Key<'static> {
        let address = address.to_canonical();
        let mut text = Inline { len: 0, bytes: [0; INLINE] };
        match address {
            IpAddr::V4(v4) => text.push_v4(v4),
            IpAddr::V6(v6) if v6_prefix < 128 => text.push_network(v6, v6_prefix),
            IpAddr::V6(v6) => text.push_fmt(format_args!("{v6}")),
        }
        Key { bytes: Bytes::Inline(text), address: Address::Known(address) }
    }

    /// Returns the bytes of the identity, or the 32 bytes of its digest if it was too long.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Inline(text) => text.as_bytes(),
            Bytes::Owned(bytes) => bytes,
            Bytes::Digest(digest) => digest,
        }
    }

    /// Returns the identity as text; `None` if it is not UTF-8, or was too long and is a digest.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if self.is_digest() { None } else { std::str::from_utf8(self.as_bytes()).ok() }
    }

    /// Returns whether the identity was longer than [`MAX_KEY_LEN`] and is stored as its SHA-256.
    #[inline]
    #[must_use]
    pub fn is_digest(&self) -> bool {
        matches!(self.bytes, Bytes::Digest(_))
    }

    /// Returns the key marked as not an address, so that the deny list does not read its text as one.
    ///
    /// Use it for identities that clients choose: otherwise an API key `10.0.0.1` would be denied with the network
    /// `10.0.0.0/8`. Keys of bytes and of [parts](Key::parts) are opaque already. The allow list never reads a text
    /// as an address.
    #[must_use]
    pub fn opaque(mut self) -> Self {
        if matches!(self.address, Address::InText) {
            self.address = Address::Never;
        }
        self
    }

    /// Returns the client address that this key was created from. Returns `None` for a key that was created from text,
    /// even if the text is an address.
    ///
    /// For the key of a network (`2001:db8::/64`) it is the full address that the key was created from.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.address {
            Address::Known(address) => Some(address),
            Address::InText | Address::Never => None,
        }
    }

    /// Returns the address in the key's text, with or without a prefix length.
    pub(crate) fn address_in_text(&self) -> Option<IpAddr> {
        let Address::InText = self.address else { return None };
        let text = std::str::from_utf8(self.as_bytes()).ok()?;
        let address = text.parse().or_else(|_| text.parse().map(|net: IpNet| net.addr()));
        address.ok().map(|address| address.to_canonical())
    }

    /// Returns the key with owned bytes; a short identity does not allocate.
    #[must_use]
    pub fn into_owned(self) -> Key<'static> {
        let bytes = match self.bytes {
            Bytes::Borrowed(bytes) => match Inline::copy(bytes) {
                Some(text) => Bytes::Inline(text),
                None => Bytes::Owned(bytes.into()),
            },
            Bytes::Inline(text) => Bytes::Inline(text),
            Bytes::Owned(bytes) => Bytes::Owned(bytes),
            Bytes::Digest(digest) => Bytes::Digest(digest),
        };
        Key { bytes, address: self.address }
    }

    /// Reads a token that [`Key::to_token`] wrote. It does not contain the address that the key was created from.
    pub(crate) fn from_token(token: &str) -> Option<Key<'static>> {
        if let Some(digits) = token.strip_prefix("%sha256:") {
            let digest: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(hexadecimal).collect();
            let bytes = Bytes::Digest(digest?.try_into().ok()?);
            return Some(Key { bytes, address: Address::Never });
        }
        let mut bytes = Vec::with_capacity(token.len());
        let mut rest = token.as_bytes();
        while let [first, after @ ..] = rest {
            let (digits, after) = after.split_at_checked(if *first == b'%' { 2 } else { 0 })?;
            bytes.push(if digits.is_empty() { *first } else { hexadecimal(digits)? });
            rest = after;
        }
        (bytes.len() <= MAX_KEY_LEN).then(|| Key::from(&bytes[..]).into_owned())
    }

    /// Returns the key as a printable token without `{`, `}`, spaces or line ends.
    ///
    /// Bytes other than letters, digits and `-._~:/@|,=+` are written as `%` and two hexadecimal digits, and a
    /// digest as `%sha256:` and its digits. Different keys have different tokens.
    #[must_use]
    pub fn to_token(&self) -> String {
        let bytes = self.as_bytes();
        let mut token = String::with_capacity(bytes.len() + 8);
        if self.is_digest() {
            token.push_str("%sha256:");
        }
        for &byte in bytes {
            if !self.is_digest() && is_plain(byte) {
                token.push(char::from(byte));
            } else {
                let sign = if self.is_digest() { "" } else { "%" };
                let _ = write!(token, "{sign}{byte:02X}"); // a write to a String does not fail
            }
        }
        token
    }

    #[inline]
    fn borrowed(bytes: &'a [u8], address: Address) -> Self {
        let bytes = if bytes.len() > MAX_KEY_LEN {
            Bytes::Digest(Sha256::digest(bytes).into())
        } else {
            Bytes::Borrowed(bytes)
        };
        Self { bytes, address }
    }
}

/// Joins parts, each with a flag that marks a digest.
fn joined<P: AsRef<[u8]>>(parts: impl Iterator<Item = (bool, P)>) -> Key<'static> {
    let mut joined = Vec::new();
    for (i, (is_digest, part)) in parts.enumerate() {
        if i > 0 {
            joined.push(b'|');
        }
        if is_digest {
            joined.extend_from_slice(b"%sha256:"); // cannot be confused with an escape
        }
        for &byte in part.as_ref() {
            match byte {
                b'|' => joined.extend_from_slice(b"%7C"),
                b'%' => joined.extend_from_slice(b"%25"),
                _ => joined.push(byte),
            }
        }
    }
    Key::from(joined)
}

/// Reads two hexadecimal digits.
fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let [high, low] = *digits else { return None };
    let digit = |byte| char::from(byte).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/@|,=+".contains(&byte)
}

impl Inline {
    fn copy(bytes: &[u8]) -> Option<Self> {
        let len = u8::try_from(bytes.len()).ok()?;
        let mut text = Self { len, bytes: [0; INLINE] };
        text.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(text)
    }

    fn push_network(&mut self, address: Ipv6Addr, prefix: u8) {
        let kept = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        let network = Ipv6Addr::from_bits(address.to_bits() & kept);
        self.push_fmt(format_args!("{network}/{prefix}"));
    }

    /// Writes the dotted form. The standard formatter takes many times as long, and this runs for every request.
    fn push_v4(&mut self, address: Ipv4Addr) {
        let mut end = 0;
        for octet in address.octets() {
            let (text, len) = OCTETS[usize::from(octet)];
            // A copy of constant length is fastest. The next octet overwrites the surplus bytes.
            if let Some(slot) = self.bytes.get_mut(end..end + 4) {
                slot.copy_from_slice(&text);
            }
            end += usize::from(len);
        }
        self.len = end as u8 - 1; // without the last dot: at most 15
    }

    fn push_fmt(&mut self, text: fmt::Arguments<'_>) {
        let _ = self.write_fmt(text); // INLINE holds the longest address with its prefix
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
            *slot = byte;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl fmt::Write for Inline {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

impl Key<'static> {
    fn owned(identity: Vec<u8>, address: Address) -> Self {
        if identity.len() > MAX_KEY_LEN {
            return Key::borrowed(&identity, address).into_owned();
        }
        Self { bytes: Bytes::Owned(identity.into()), address }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.is_digest() == other.is_digest() && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
        state.write_u8(u8::from(self.is_digest()));
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Display for Key<'_> {
    /// Writes the key as [`Key::to_token`] does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_token())
    }
}

impl Serialize for Key<'_> {
    /// Writes the key as [`Key::to_token`] does.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_token())
    }
}

impl<'a> From<&'a [u8]> for Key<'a> {
    #[inline]
    fn from(identity: &'a [u8]) -> Self {
        Self::borrowed(identity, Address::Never)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    #[inline]
    fn from(identity: &'a str) -> Self {
        Self::borrowed(identity.as_bytes(), Address::InText)
    }
}

impl<'a> From<&'a String> for Key<'a> {
    #[inline]
    fn from(identity: &'a String) -> Self {
        Self::borrowed(identity.as_bytes(), Address::InText)
    }
}

impl From<Vec<u8>> for Key<'static> {
    fn from(identity: Vec<u8>) -> Self {
        Key::owned(identity, Address::Never)
    }
}

impl From<String> for Key<'static> {
    fn from(identity: String) -> Self {
        Key::owned(identity.into_bytes(), Address::InText)
    }
}

impl From<IpAddr> for Key<'static> {
    fn from(address: IpAddr) -> Self {
        Key::network(address, 128)
    }
}

macro_rules! integer {
    ($($number:ty),+) => {$(
        /// The decimal digits, which are never read as an address.
        impl From<$number> for Key<'static> {
            fn from(number: $number) -> Self {
                let mut text = Inline { len: 0, bytes: [0; INLINE] }; // a u128 has at most 39 digits
                text.push_fmt(format_args!("{number}"));
                Key { bytes: Bytes::Inline(text), address: Address::Never }
            }
        }
    )+};
}

integer!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl<'a> From<&'a Key<'_>> for Key<'a> {
    fn from(key: &'a Key<'_>) -> Self {
        let bytes = match &key.bytes {
            Bytes::Digest(digest) => Bytes::Digest(*digest),
            _ => Bytes::Borrowed(key.as_bytes()),
        };
        Key { bytes, address: key.address }
    }
}

#[cfg(test)]
mod tests;
