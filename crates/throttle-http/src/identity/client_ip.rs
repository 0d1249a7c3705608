//! The client's address as a key.

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

/// Limits by the client's address: that of the connection, unless a trusted proxy says another.
///
/// Header fields such as `X-Forwarded-For` are not looked at by default, because any client can send
/// them. Behind proxies, name them; then the field is read from the right, past the hops that are
/// trusted, and the first one that is not is the client.
///
/// IPv6 clients are told apart by the first 64 bits of their address, since each commonly holds all
/// addresses below them. IPv4 in its IPv6 mapping is IPv4.
///
/// If a trusted proxy does not write the field, clients that send it choose their own address. The first
/// requests that show it are logged, once for each kind: no field, only the other field, a last entry that is
/// not an address.
///
/// The key is the text of the address (`192.0.2.1`, `2001:db8::/64`). Another key source that yields the same text,
/// such as a [`Header`](super::Header) that clients choose, shares what a rule of one limiter counts.
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
    /// Takes the address of the connection.
    pub fn new() -> Self {
        let header = ForwardedHeader::default();
        Self { proxies: Ok(TrustedProxies::default()), header, ipv6_prefix: IPV6_PREFIX }
    }

    /// Names the proxies that are believed, as networks or addresses: `10.0.0.0/8`, `192.0.2.1`.
    ///
    /// An entry that is neither is an error when the middleware is built.
    pub fn trusted_proxies(mut self, entries: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.proxies = TrustedProxies::new(entries);
        self
    }

    /// Says which field the proxies write; default [`ForwardedHeader::XForwardedFor`].
    ///
    /// Only that one is read: a proxy that writes one of them passes the other on as the client sent
    /// it.
    pub fn header(mut self, header: ForwardedHeader) -> Self {
        self.header = header;
        self
    }

    /// Sets how many leading bits of an IPv6 address are one client; default 64, at most 128.
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = bits;
        self
    }

    /// Returns the proxies that are believed.
    ///
    /// # Errors
    ///
    /// [`InvalidProxy`] when one of those that were named is no network.
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
        Ok(Key::network(address, self.ipv6_prefix))
    }

    fn validate(&self) -> Result<(), InvalidKey> {
        self.proxies()?;
        Ok(())
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
