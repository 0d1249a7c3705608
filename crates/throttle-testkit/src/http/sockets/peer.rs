//! The simulated peer address of requests over a socket.

use std::net::SocketAddr;

/// The request field with the simulated peer address, because all connections come from this machine.
pub const PEER: &str = "x-testkit-peer";
/// The value for a request with an unknown peer address.
pub(super) const UNKNOWN: &str = "unknown";

/// Returns the peer address of a request, given its field [`PEER`] and the address of the connection.
///
/// # Examples
///
/// ```
/// use throttle_testkit::http::peer;
///
/// let connection = "127.0.0.1:50000".parse().ok();
/// assert_eq!(peer(None, connection), connection);
/// assert_eq!(peer(Some(b"192.0.2.1:7"), connection), "192.0.2.1:7".parse().ok());
/// assert_eq!(peer(Some(b"unknown"), connection), None);
/// ```
#[must_use]
pub fn peer(field: Option<&[u8]>, connection: Option<SocketAddr>) -> Option<SocketAddr> {
    match field {
        Some(field) => std::str::from_utf8(field).ok()?.parse().ok(),
        None => connection,
    }
}
