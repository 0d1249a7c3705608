//! Properties of the client address, for any header fields.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue};
use throttle_http::identity::{ForwardedHeader, TrustedProxies, client_address};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Uses each line of the input as a line of each field.
pub(crate) fn check(bytes: &[u8]) {
    let proxies = TrustedProxies::new(["10.0.0.0/8", "fd00::/8"]).expect("the networks are valid");
    let lines = || bytes.split(|byte| *byte == b'\n');
    // An attack by a client: an unclosed quote and escape.
    let spoof = || std::iter::once(&b"for=\"\\"[..]);

    for (header, name) in [
        (ForwardedHeader::XForwardedFor, "x-forwarded-for"),
        (ForwardedHeader::Forwarded, "forwarded"),
    ] {
        let headers = map(name, lines());
        assert_ignored_without_proxies(&headers, header);

        let client = client_address(PEER, &headers, &proxies, header);
        if proxies.contains(client) {
            continue;
        }
        let own_line = map(name, spoof().chain(lines()));
        let found = client_address(PEER, &own_line, &proxies, header);
        assert_eq!(found, client, "a line before those of the proxies must not change the address");

        let same_line = [b"for=\"\\,", bytes].concat();
        let same_line = map(name, same_line.split(|byte| *byte == b'\n'));
        let found = client_address(PEER, &same_line, &proxies, header);
        assert_eq!(found, client, "text before that of the proxies must not change the address");
    }

    for (header, name) in [
        (ForwardedHeader::XRealIp, "x-real-ip"),
        (ForwardedHeader::CfConnectingIp, "cf-connecting-ip"),
        (ForwardedHeader::TrueClientIp, "true-client-ip"),
        (ForwardedHeader::FlyClientIp, "fly-client-ip"),
    ] {
        let headers = map(name, lines());
        assert_ignored_without_proxies(&headers, header);

        // A proxy replaces the field, so further lines are not from the proxy.
        let (first, last) = (&b"203.0.113.7"[..], &b"203.0.113.8"[..]);
        let several = map(name, [first].into_iter().chain(lines()).chain([last]));
        let found = client_address(PEER, &several, &proxies, header);
        assert_eq!(found, PEER, "several lines must not change the address");
    }
}

fn assert_ignored_without_proxies(headers: &HeaderMap, header: ForwardedHeader) {
    let client = client_address(PEER, headers, &TrustedProxies::default(), header);
    assert_eq!(client, PEER, "without a trusted proxy, fields must be ignored");
}

/// Creates the fields, without lines that are not valid header values.
fn map<'a>(name: &'static str, lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.flat_map(HeaderValue::from_bytes) {
        headers.append(name, line);
    }
    headers
}
