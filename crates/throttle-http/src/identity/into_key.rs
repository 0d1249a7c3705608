//! Values that can be keys, and the reasons why a request has no key.

use std::net::IpAddr;

use http::StatusCode;
use throttle_core::Key;

use super::address::IPV6_PREFIX;

/// The reason why a request has no key.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoKey {
    /// The address of the connection is unknown: a configuration error of the service.
    #[error(
        "the client address is unknown: serve with `into_make_service_with_connect_info::<SocketAddr>()` (axum), \
         set `TestRequest::peer_addr` (tests of actix-web), set `.peer(…)` to read the address of the connection \
         from the extensions (tonic: `extensions.get::<TcpConnectInfo>()?.remote_addr()`), insert a `SocketAddr` \
         into the request's extensions, or use another key with `.key(…)`"
    )]
    NoPeer,
    /// The request has no such header field, or it is empty.
    #[error("the request has no header field {0:?}, or it is empty")]
    NoHeader(String),
    /// The request has no such cookie, or it is empty.
    #[error("the request has no cookie {0:?}, or it is empty")]
    NoCookie(String),
    /// The request has several cookies with this name and different values.
    #[error("the request has several cookies {0:?} with different values")]
    SeveralCookies(String),
    /// The request has no host, neither in its URI nor in the `Host` field.
    #[error("the request has no host: use a full URI, or another key, such as `.key(Global)`")]
    NoHost,
    /// The key function returned no key.
    #[error("the request does not identify its client")]
    Unidentified,
    /// The key function returned no key, and [`OnMissing::Status`](super::OnMissing::Status) sets the status of the
    /// response.
    #[error("the request does not identify its client")]
    Status(StatusCode),
}

throttle_core::debug_as_text!(NoKey);

/// A value that is a key or may be one: text, bytes, an address, or an option of these.
///
/// Text usually comes from clients, so the allow and deny lists never read it as an address.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key",
    label = "not a key",
    note = "return text (`String` or `&'static str`), bytes (`Vec<u8>`), an integer, an `IpAddr`, a `Key<'static>`, or an \
            `Option` of these; for another type, convert it: `.to_string()`"
)]
pub trait IntoKey {
    /// Returns the key, if the value has one.
    fn into_key(self) -> Option<Key<'static>>;
}

impl IntoKey for String {
    fn into_key(self) -> Option<Key<'static>> {
        Some(Key::from(self).opaque())
    }
}

impl IntoKey for &'static str {
    fn into_key(self) -> Option<Key<'static>> {
        Some(Key::from(self).opaque())
    }
}

impl IntoKey for Vec<u8> {
    fn into_key(self) -> Option<Key<'static>> {
        Some(Key::from(self))
    }
}

impl IntoKey for IpAddr {
    fn into_key(self) -> Option<Key<'static>> {
        Some(Key::network(self, IPV6_PREFIX))
    }
}

macro_rules! integer {
    ($($number:ty),+) => {$(
        impl IntoKey for $number {
            fn into_key(self) -> Option<Key<'static>> {
                Some(Key::from(self))
            }
        }
    )+};
}

integer!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl IntoKey for Key<'static> {
    fn into_key(self) -> Option<Key<'static>> {
        Some(self)
    }
}

impl<K: IntoKey> IntoKey for Option<K> {
    fn into_key(self) -> Option<Key<'static>> {
        self.and_then(IntoKey::into_key)
    }
}
