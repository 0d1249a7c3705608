//! A single address, in the forms that proxies write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The number of leading bits of an IPv6 address that identify a client: a provider assigns at least a /64 to a
/// customer ([RFC 6177](https://www.rfc-editor.org/rfc/rfc6177)).
pub(super) const IPV6_PREFIX: u8 = 64;

/// Returns the canonical form of an address: an IPv4 address that is mapped to IPv6 becomes IPv4.
///
/// A dual-stack socket reports an IPv4 client as `::ffff:192.0.2.1`, while a proxy writes `192.0.2.1`. Both are
/// the same client and share one limit.
#[must_use]
pub const fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

/// Parses an address in the forms that proxies write, with or without a port, and returns it in [`canonical`] form.
///
/// The forms are `192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:8080`, with
/// optional whitespace around them. Anything else returns `None`: host names, `unknown` and `_hidden` of [RFC
/// 7239, section 6], zone IDs, and invalid ports. A port is a number up to 65535, or obfuscated as in that
/// section (`192.0.2.1:_p7`).
///
/// The bytes are untrusted: the function neither panics nor allocates.
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

/// Parses the text after an opening bracket, which must be an IPv6 address.
fn parse_bracketed(text: &str) -> Option<Ipv6Addr> {
    let (address, after) = text.split_once(']')?;
    if !after.is_empty() && !is_port(after.strip_prefix(':')?) {
        return None;
    }
    address.parse().ok()
}

/// Parses an address without brackets; only an IPv4 address can have a port in this form.
fn parse_bare(text: &str) -> Option<IpAddr> {
    match text.split_once(':') {
        Some((address, port)) if is_port(port) => address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        _ => text.parse().ok(),
    }
}

/// Returns whether the text is a `node-port` of RFC 7239: a number of one to five digits up to 65535, or an
/// underscore followed by an obfuscated name.
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
