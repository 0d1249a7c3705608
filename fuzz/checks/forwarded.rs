//! What holds for the client's address, whatever the header fields.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue};
use throttle_http::identity::{ForwardedHeader, TrustedProxies, client_address};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Takes each line of the input for a line of either field.
pub(crate) fn check(bytes: &[u8]) {
    let proxies = TrustedProxies::new(["10.0.0.0/8", "fd00::/8"]).expect("these are networks");
    let lines = || bytes.split(|byte| *byte == b'\n');
    // A client's worst: quotes and escapes that are never closed.
    let spoof = || std::iter::once(&b"for=\"\\"[..]);

    for (header, name) in [
        (ForwardedHeader::XForwardedFor, "x-forwarded-for"),
        (ForwardedHeader::Forwarded, "forwarded"),
    ] {
        let headers = map(name, lines());
        let nobody = TrustedProxies::default();
        let unproxied = client_address(PEER, &headers, &nobody, header);
        assert_eq!(unproxied, PEER, "no field is believed unless a proxy is trusted");

        let client = client_address(PEER, &headers, &proxies, header);
        if proxies.contains(client) {
            continue;
        }
        let own_line = map(name, spoof().chain(lines()));
        let found = client_address(PEER, &own_line, &proxies, header);
        assert_eq!(found, client, "a line before the proxies' changes nothing");

        let same_line = [b"for=\"\\,", bytes].concat();
        let same_line = map(name, same_line.split(|byte| *byte == b'\n'));
        let found = client_address(PEER, &same_line, &proxies, header);
        assert_eq!(found, client, "text before the proxies' changes nothing");
    }
}

/// Makes the fields, without the lines that no server lets through.
fn map<'a>(name: &'static str, lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.flat_map(HeaderValue::from_bytes) {
        headers.append(name, line);
    }
    headers
}
