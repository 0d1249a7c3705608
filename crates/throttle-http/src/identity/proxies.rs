//! The list of trusted proxies.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::address::canonical;

/// The prefix length of `::ffff:0:0/96`, the IPv6 addresses that represent IPv4 addresses.
const MAPPED_PREFIX: u8 = 96;

/// The networks of the proxies whose header fields are trusted; empty by default.
///
/// List only the proxies. A client with an address in one of these networks can choose any client address.
///
/// Clones share one list, so cloning is cheap.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_http::*; pub use throttle_http::identity::*; }
/// use ratethrottle::identity::TrustedProxies;
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8", "::1"])?;
/// assert!(proxies.contains([10, 1, 2, 3].into()));
/// assert!(!proxies.contains([192, 0, 2, 1].into()));
/// # Ok::<(), throttle_http::identity::InvalidProxy>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
}

impl TrustedProxies {
    /// Parses networks (`10.0.0.0/8`) and single addresses (`::1`).
    ///
    /// Bits after the prefix are ignored: `10.1.2.3/8` is `10.0.0.0/8`. An IPv4 network in IPv6 notation
    /// (`::ffff:10.0.0.0/104`) is an IPv4 network. An IPv6 network never contains IPv4 clients, even with a
    /// prefix of 0; to trust both families, write two entries.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidProxy`] for the first entry that is neither a network nor an address.
    pub fn new(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidProxy> {
        let networks = entries
            .into_iter()
            .map(|entry| parse_network(entry.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { networks: IpNet::aggregate(&networks).into() })
    }

    /// Returns whether the address is a trusted proxy.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.network_of(addr).is_some()
    }

    /// Returns the network that contains the address.
    pub(super) fn network_of(&self, addr: IpAddr) -> Option<&IpNet> {
        let addr = canonical(addr);
        self.networks.iter().find(|network| network.contains(&addr))
    }

    /// Returns whether there are no trusted proxies, so no field is ever read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Returns whether all IPv4 or all IPv6 addresses are trusted, so any client can choose its address.
    ///
    /// Use it for a warning at startup: such a list is safe only if no client can connect directly.
    #[must_use]
    pub fn trusts_all_addresses(&self) -> bool {
        self.networks.iter().any(|network| network.prefix_len() == 0)
    }
}

/// An entry of a list of trusted proxies that is neither an address nor a network.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "trusted proxy {entry:?} is neither an address nor a network: write an address such as \
     \"10.0.0.1\" or \"::1\", or a network such as \"10.0.0.0/8\" (prefix 0 to 32) or \"fd00::/8\" \
     (prefix 0 to 128); host names and ports are not allowed"
)]
pub struct InvalidProxy {
    entry: String,
}

throttle_core::debug_as_text!(InvalidProxy);

impl InvalidProxy {
    /// Returns the entry as it was written.
    #[must_use]
    pub fn entry(&self) -> &str {
        &self.entry
    }
}

fn parse_network(entry: &str) -> Result<IpNet, InvalidProxy> {
    let text = entry.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    network.map(canonical_network).ok_or_else(|| InvalidProxy { entry: entry.to_owned() })
}

/// Converts a network of IPv4-mapped addresses to the IPv4 network that it represents.
fn canonical_network(network: IpNet) -> IpNet {
    let mapped = || {
        let prefix = network.prefix_len().checked_sub(MAPPED_PREFIX)?;
        match (network.addr(), canonical(network.addr())) {
            (IpAddr::V6(_), IpAddr::V4(address)) => Ipv4Net::new(address, prefix).ok(),
            _ => None,
        }
    };
    mapped().map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests;
