//! The hops that `X-Forwarded-For` names, the nearest first.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};

use super::address::parse_node;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Walks the field from the right; `None` is a hop that names nobody.
///
/// No standard defines this field. All its lines are one list, in order, as for any list ([RFC
/// 9110, section 5.3]), except that an empty entry counts: see
/// [`client_address`](super::client_address).
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
