//! The hops in `X-Forwarded-For`, from right to left.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};

use super::address::parse_node;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the hops in the field from right to left; `None` is a hop that is not an address.
///
/// No standard defines this field. All of its lines are one list, in order, as for any list ([RFC 9110, section
/// 5.3]). Empty entries count as hops; see [`client_address`](super::client_address).
///
/// [RFC 9110, section 5.3]: https://www.rfc-editor.org/rfc/rfc9110#section-5.3
pub(super) fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map(parse_node)
}
