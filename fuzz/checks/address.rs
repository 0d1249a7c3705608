//! Properties of a parsed address, for any bytes.

use throttle_http::identity::{canonical, parse_node};

pub(crate) fn check(bytes: &[u8]) {
    let Some(address) = parse_node(bytes) else {
        return;
    };
    assert_eq!(address, canonical(address), "the address must be in canonical form");
    let written = address.to_string();
    assert_eq!(
        parse_node(written.as_bytes()),
        Some(address),
        "the formatted address must be parsed again"
    );
}
