//! Whom to believe.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::address::canonical;

/// Prefix length of `::ffff:0:0/96`, the IPv6 addresses that stand for IPv4 ones.
const MAPPED_PREFIX: u8 = 96;

/// Holds the networks of the proxies whose word about their client is believed; by default none.
///
/// List the proxies and nothing more. A client whose own address lies in one of these networks can
/// claim to be anybody.
///
/// Cloning is cheap: all clones share one list.
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
    /// Reads networks (`10.0.0.0/8`) and single addresses (`::1`).
    ///
    /// The bits after the prefix are ignored: `10.1.2.3/8` is `10.0.0.0/8`. IPv4 written as IPv6
    /// (`::ffff:10.0.0.0/104`) is IPv4. An IPv6 network never covers IPv4 clients, however short
    /// its prefix: trust in both families is written as two entries.
    ///
    /// # Errors
    ///
    /// [`InvalidProxy`] names the first entry that is neither.
    pub fn new(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidProxy> {
        let networks = entries
            .into_iter()
            .map(|entry| parse_network(entry.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { networks: IpNet::aggregate(&networks).into() })
    }

    /// Tells whether the address is one of the proxies'.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.network_of(addr).is_some()
    }

    /// Returns the network that the address is in.
    pub(super) fn network_of(&self, addr: IpAddr) -> Option<&IpNet> {
        let addr = canonical(addr);
        self.networks.iter().find(|network| network.contains(&addr))
    }

    /// Tells whether nobody is trusted, so that no field is ever read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Tells whether all of IPv4 or all of IPv6 is trusted, so that any client can choose its own
    /// address.
    ///
    /// It is for a warning at the start of a program: such a list is right only where nobody but a
    /// proxy can connect.
    #[must_use]
    pub fn trusts_all_addresses(&self) -> bool {
        self.networks.iter().any(|network| network.prefix_len() == 0)
    }
}

/// Says which entry of a list of trusted proxies could not be read, and what can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "trusted proxy {entry:?} is neither an address nor a network: write an address such as \
     \"10.0.0.1\" or \"::1\", or a network such as \"10.0.0.0/8\" (prefix 0 to 32) or \"fd00::/8\" \
     (prefix 0 to 128); host names and ports are not allowed"
)]
pub struct InvalidProxy {
    entry: String,
}

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

/// Turns a network of IPv4-mapped addresses into the IPv4 network it stands for.
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
