//! The walk from the connection to the client.

use std::net::IpAddr;

use http::HeaderMap;

use super::address::canonical;
use super::proxies::TrustedProxies;
use super::{forwarded, x_forwarded_for};

/// Hops that are looked at. No real chain comes near it; without it whoever sends trusted addresses
/// would decide how long the walk is.
const MAX_HOPS: usize = 128;

/// Says which field the proxies write; only that one is read.
///
/// There is no "either" on purpose. A proxy appends to the field it knows and passes the other on
/// as the client sent it, so a server that reads both lets the client write its own address into
/// the one its proxies ignore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which nearly every proxy writes.
    #[default]
    XForwardedFor,
    /// `Forwarded` of [RFC 7239](https://www.rfc-editor.org/rfc/rfc7239).
    Forwarded,
}

impl ForwardedHeader {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// Returns the hop that the nearest proxy names: `None` without the field, `Some(None)` if it names none.
    pub(crate) fn last_hop(self, headers: &HeaderMap) -> Option<Option<IpAddr>> {
        match self {
            Self::XForwardedFor => x_forwarded_for::hops(headers).next(),
            Self::Forwarded => forwarded::hops(headers).next(),
        }
    }
}

/// Returns the address of the client: the peer's, or the one that trusted proxies vouch for; always
/// in [`canonical`](super::canonical) form.
///
/// Each proxy appends the address it was called from, so the list is true only from the right, and
/// only as far as trusted proxies wrote it. The walk starts at the peer and goes one hop to the
/// left for as long as it stands on a trusted one:
///
/// - the peer is not trusted: it is the client, and no field is read;
/// - the first hop that is not trusted is the client, whatever stands left of it;
/// - all hops are trusted: the leftmost is the client;
/// - a hop names nobody (it is empty, malformed, `unknown` or hidden): the answer is the trusted
///   hop right of it, since that is the last one known to be true. Clients behind such a proxy
///   share a limit, which is safer than one they can choose.
/// - more than 128 hops: the answer is the last trusted one of these.
///
/// An empty entry is not skipped, as [RFC 9110, section 5.6.1.2] would have it for a list in
/// general: behind a proxy that appends nothing, the client's own entry would pass for the proxy's.
///
/// The time it takes is linear in the size of the field; nothing is allocated.
///
/// # Examples
///
/// ```
/// use http::HeaderMap;
/// use throttle_http::identity::{ForwardedHeader, TrustedProxies, client_address};
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8"])?;
/// let mut headers = HeaderMap::new();
/// // The client sent the first entry, the outer proxy added the second, the inner one the third.
/// headers.insert("x-forwarded-for", "203.0.113.66, 192.0.2.1, 10.0.0.2".parse()?);
///
/// let peer = [10, 0, 0, 1].into();
/// let client = client_address(peer, &headers, &proxies, ForwardedHeader::XForwardedFor);
/// assert_eq!(client.to_string(), "192.0.2.1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [RFC 9110, section 5.6.1.2]: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.1.2
#[must_use]
pub fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    proxies: &TrustedProxies,
    header: ForwardedHeader,
) -> IpAddr {
    let peer = canonical(peer);
    if !proxies.contains(peer) {
        return peer;
    }
    match header {
        ForwardedHeader::XForwardedFor => walk(peer, x_forwarded_for::hops(headers), proxies),
        ForwardedHeader::Forwarded => walk(peer, forwarded::hops(headers), proxies),
    }
}

fn walk(
    peer: IpAddr,
    hops: impl Iterator<Item = Option<IpAddr>>,
    proxies: &TrustedProxies,
) -> IpAddr {
    let mut vouched = peer;
    for hop in hops.take(MAX_HOPS) {
        let Some(address) = hop else { break };
        vouched = address;
        if !proxies.contains(address) {
            break;
        }
    }
    vouched
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
