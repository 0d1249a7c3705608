//! One address, in the ways proxies write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many bits of an IPv6 address are one client: what a provider assigns to one customer at least
/// ([RFC 6177](https://www.rfc-editor.org/rfc/rfc6177)).
pub(super) const IPV6_PREFIX: u8 = 64;

/// Returns the address in the one form that is compared and counted.
///
/// A socket that listens to both families reports an IPv4 client as `::ffff:192.0.2.1`; a proxy
/// writes `192.0.2.1`. They are one client and share one limit.
#[must_use]
pub const fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

/// Reads one address as proxies write it, with or without a port, and returns it in [`canonical`]
/// form.
///
/// Accepted are `192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1`, `[2001:db8::1]` and
/// `[2001:db8::1]:8080`, with whitespace around them. Anything else names nobody: host names,
/// `unknown` and `_hidden` of [RFC 7239, section 6], zone ids, ports that are neither a number up to 65535
/// nor hidden as that section has it (`192.0.2.1:_p7`).
///
/// Any bytes may be passed: it never panics and never allocates.
///
/// # Examples
///
/// ```
/// use throttle_http::identity::parse_node;
///
/// assert_eq!(parse_node(b"[2001:db8::1]:8080"), "2001:db8::1".parse().ok());
/// assert_eq!(parse_node(b"unknown"), None);
/// ```
///
/// [RFC 7239, section 6]: https://www.rfc-editor.org/rfc/rfc7239#section-6
#[must_use]
pub fn parse_node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let address = match text.strip_prefix('[') {
        Some(bracketed) => IpAddr::V6(parse_bracketed(bracketed)?),
        None => parse_bare(text)?,
    };
    Some(canonical(address))
}

/// Reads what follows the opening bracket: only IPv6 is written in brackets.
fn parse_bracketed(text: &str) -> Option<Ipv6Addr> {
    let (address, after) = text.split_once(']')?;
    if !after.is_empty() && !is_port(after.strip_prefix(':')?) {
        return None;
    }
    address.parse().ok()
}

/// Reads an address without brackets: only an IPv4 address can have a port then.
fn parse_bare(text: &str) -> Option<IpAddr> {
    match text.split_once(':') {
        Some((address, port)) if is_port(port) => address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        _ => text.parse().ok(),
    }
}

/// Tells whether the text is a `node-port` of RFC 7239: one to five digits, at most 65535, or one that the
/// proxy hides behind an underscore.
fn is_port(text: &str) -> bool {
    if let Some(hidden) = text.strip_prefix('_') {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        return !hidden.is_empty() && hidden.bytes().all(plain);
    }
    // `u16` alone would accept "+80" and "0000080".
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests;
