//! The client address as a key.

use std::net::IpAddr;

use throttle_core::Key;

use super::{
    address::IPV6_PREFIX,
    client::{ForwardedHeader, client_address},
    extract::ExtractKey,
    into_key::NoKey,
    invalid::InvalidKey,
    proxies::{InvalidProxy, TrustedProxies},
};
use crate::{
    config_warning::{ConfigWarning, RequestSample},
    head::RequestHead,
};

/// The address of the client as a key.
///
/// By default this is the address of the connection. Fields such as `X-Forwarded-For` are ignored, because any
/// client can send them. Behind proxies, list their networks with [`trusted_proxies`](Self::trusted_proxies).
/// The field is then read from right to left, and the first address that is not a trusted proxy is the client.
///
/// An IPv6 client is identified by the first 64 bits of its address, because a client usually has all addresses
/// of such a network. An IPv4 address that is mapped to IPv6 counts as IPv4.
///
/// If a trusted proxy does not write the field, clients that send it can choose their own address. A warning is
/// logged for the first requests that show this, once for each kind: no field, only the other field, or a last
/// entry that is not an address.
///
/// The key is the text of the address, such as `192.0.2.1` or `2001:db8::/64`. Another key with the same text,
/// for example a [`Header`](super::Header) that clients choose, shares the counts of a rule if both use the
/// same limiter.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_http::*; pub use throttle_http::identity::*; }
/// use ratethrottle::{ClientIp, identity::ForwardedHeader};
///
/// let direct = ClientIp::new();
/// let behind_a_proxy = ClientIp::new().trusted_proxies(["10.0.0.0/8"]);
/// let behind_another = ClientIp::new()
///     .trusted_proxies(["192.0.2.1", "2001:db8::/32"])
///     .header(ForwardedHeader::Forwarded)
///     .ipv6_prefix(56);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientIp {
    proxies: Result<TrustedProxies, InvalidProxy>,
    header: ForwardedHeader,
    ipv6_prefix: u8,
}

impl ClientIp {
    /// Creates a key from the address of the connection.
    pub fn new() -> Self {
        let header = ForwardedHeader::default();
        Self { proxies: Ok(TrustedProxies::default()), header, ipv6_prefix: IPV6_PREFIX }
    }

    /// Sets the trusted proxies, as networks or addresses: `10.0.0.0/8`, `192.0.2.1`. By default, no proxy is trusted.
    ///
    /// Any other entry is an error when the middleware is built.
    pub fn trusted_proxies(mut self, entries: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.proxies = TrustedProxies::new(entries);
        self
    }

    /// Sets the header field that the proxies write. The default is [`ForwardedHeader::XForwardedFor`].
    ///
    /// Only this field is read: a proxy that writes one of them forwards the others as the client sent them.
    pub fn header(mut self, header: ForwardedHeader) -> Self {
        self.header = header;
        self
    }

    /// Sets how many leading bits of an IPv6 address identify a client. The default is 64. With 128, the whole address
    /// is the key. A number that is not from 1 to 128 is an error when the middleware is built.
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = bits;
        self
    }

    /// Returns the key of the requests of a client, to look up or reset its counts, or to deny it.
    ///
    /// For IPv6 this is the key of the client's network. A tuple, or
    /// [`OnMissing::ClientIp`](super::OnMissing::ClientIp), produces a different key.
    ///
    /// # Examples
    ///
    /// ```
    /// # mod ratethrottle { pub use throttle_core::*; pub use throttle_http::identity::*; }
    /// use ratethrottle::{ClientIp, Key};
    ///
    /// let key = ClientIp::new().key_for("2001:db8::5".parse()?);
    /// assert_eq!(key, Key::from("2001:db8::/64"));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    pub fn key_for(&self, address: IpAddr) -> Key<'static> {
        Key::network(address, self.ipv6_prefix)
    }

    /// Returns the trusted proxies.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidProxy`] if one of the entries is not a network.
    pub fn proxies(&self) -> Result<&TrustedProxies, InvalidProxy> {
        self.proxies.as_ref().map_err(Clone::clone)
    }
}

impl Default for ClientIp {
    fn default() -> Self {
        Self::new()
    }
}

impl ExtractKey for ClientIp {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        let peer = head.peer().ok_or(NoKey::NoPeer)?;
        let address = match &self.proxies {
            Ok(proxies) if !proxies.is_empty() => {
                client_address(peer, head.headers(), proxies, self.header)
            }
            _ => peer,
        };
        Ok(self.key_for(address))
    }

    fn validate(&self) -> Result<(), InvalidKey> {
        self.proxies()?;
        match self.ipv6_prefix {
            1..=128 => Ok(()),
            bits => Err(InvalidKey::Ipv6Prefix(bits)),
        }
    }

    fn warning(&self, sample: Option<&RequestSample<'_>>) -> Option<ConfigWarning> {
        let proxies = self.proxies.as_ref().ok()?;
        match sample {
            None => proxies.trusts_all_addresses().then_some(ConfigWarning::TrustsAllAddresses),
            Some(sample) if proxies.is_empty() => sample.proxy(),
            Some(sample) => {
                let network = proxies.network_of(sample.peer()?)?;
                sample.trusted_proxy(network, self.header.name())
            }
        }
    }
}

#[cfg(test)]
mod tests;
