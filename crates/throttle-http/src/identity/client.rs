//! The client address behind a chain of proxies.

use std::net::IpAddr;

use http::HeaderMap;

use super::address::{canonical, parse_node};
use super::proxies::TrustedProxies;
use super::{forwarded, x_forwarded_for};

/// The maximum number of hops that are read. Real chains are much shorter. Without a bound, a client that sends
/// trusted addresses would decide how much work a request causes.
const MAX_HOPS: usize = 128;

/// The header field that the proxies write. Only this field is read.
///
/// There is no option to read several, because a proxy writes the field it knows and forwards the others as the
/// client sent them. A server that reads several would accept an address that the client wrote.
///
/// [`XForwardedFor`](Self::XForwardedFor) and [`Forwarded`](Self::Forwarded) are lists, to which each proxy appends.
/// The other fields have a single address, which the proxy replaces. If there is not exactly one, or if it is not
/// an address, the trusted proxy itself is the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which almost every proxy writes.
    #[default]
    XForwardedFor,
    /// `Forwarded` of [RFC 7239](https://www.rfc-editor.org/rfc/rfc7239).
    Forwarded,
    /// `X-Real-IP`, which nginx writes with `proxy_set_header X-Real-IP $remote_addr`.
    XRealIp,
    /// `CF-Connecting-IP` of Cloudflare.
    CfConnectingIp,
    /// `True-Client-IP` of Akamai and Cloudflare.
    TrueClientIp,
    /// `Fly-Client-IP` of Fly.io.
    FlyClientIp,
}

impl ForwardedHeader {
    /// All fields, the usual ones first.
    pub(crate) const ALL: [Self; 6] = [
        Self::XForwardedFor,
        Self::Forwarded,
        Self::XRealIp,
        Self::CfConnectingIp,
        Self::TrueClientIp,
        Self::FlyClientIp,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::XRealIp => "x-real-ip",
            Self::CfConnectingIp => "cf-connecting-ip",
            Self::TrueClientIp => "true-client-ip",
            Self::FlyClientIp => "fly-client-ip",
        }
    }

    /// Returns the last hop in the field, `None` if the field is absent, or `Some(None)` if the hop is not an address.
    pub(crate) fn last_hop(self, headers: &HeaderMap) -> Option<Option<IpAddr>> {
        match self {
            Self::XForwardedFor => x_forwarded_for::hops(headers).next(),
            Self::Forwarded => forwarded::hops(headers).next(),
            single => single.address(headers),
        }
    }

    /// Returns the address in a field with a single value, in the same form as [`last_hop`](Self::last_hop).
    fn address(self, headers: &HeaderMap) -> Option<Option<IpAddr>> {
        let mut lines = headers.get_all(self.name()).iter();
        let first = lines.next()?;
        // A proxy replaces the field. With a second line, one of them is from the client.
        Some(if lines.next().is_none() { parse_node(first.as_bytes()) } else { None })
    }
}

/// Returns the address of the client: the peer, or the address that trusted proxies report for it. The result
/// is always in [`canonical`](super::canonical) form.
///
/// Each proxy appends the address that it was called from. So the list is read from the right, and only entries
/// written by trusted proxies are trusted. The search starts at the peer and goes to the left as long as the
/// current address is a trusted proxy:
///
/// - If the peer is not trusted, it is the client, and no field is read.
/// - The first hop that is not trusted is the client. Entries to the left of it are ignored.
/// - If all hops are trusted, the leftmost is the client.
/// - If a hop is not an address (empty, malformed, `unknown` or obfuscated), the trusted hop to the right of it
///   is the client, because it is the last verified one. Clients behind such a proxy share a limit; otherwise
///   they could choose their own.
/// - After 128 hops, the last of them is the client.
///
/// Empty entries are not skipped, although [RFC 9110, section 5.6.1.2] skips them in lists in general.
/// Otherwise, behind a proxy that appends an empty entry, the client's own entry would count as the proxy's.
///
/// A field with a single address, such as `X-Real-IP`, is read only if the peer is trusted.
///
/// The time is linear in the size of the field; nothing is allocated.
///
/// # Examples
///
/// ```
/// use http::HeaderMap;
/// use throttle_http::identity::{ForwardedHeader, TrustedProxies, client_address};
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8"])?;
/// let mut headers = HeaderMap::new();
/// // The client sent the first entry, the outer proxy appended the second, the inner one the third.
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
        single => single.address(headers).flatten().unwrap_or(peer),
    }
}

fn walk(
    peer: IpAddr,
    hops: impl Iterator<Item = Option<IpAddr>>,
    proxies: &TrustedProxies,
) -> IpAddr {
    // Each hop was written by the proxy to its right, so an address is verified if that proxy is trusted.
    let mut verified = peer;
    for hop in hops.take(MAX_HOPS) {
        let Some(address) = hop else { break };
        verified = address;
        if !proxies.contains(address) {
            break;
        }
    }
    verified
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
