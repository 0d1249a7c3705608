//! What can be a key, and why a request may have none.

use std::net::IpAddr;

use http::StatusCode;
use throttle_core::Key;

use super::address::IPV6_PREFIX;

/// Says why a request has no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoKey {
    /// The server did not say where the connection comes from; a mistake in the service.
    #[error(
        "the client address is not known: serve with \
         `into_make_service_with_connect_info::<SocketAddr>()` (axum), or say \
         `TestRequest::peer_addr` (tests of actix-web), or say by `.peer(…)` where the server leaves \
         it (tonic: `extensions.get::<TcpConnectInfo>()?.remote_addr()`), or put a `SocketAddr` into \
         the request's extensions, or limit by another key with `.key(…)`"
    )]
    NoPeer,
    /// The request lacks a header field; a mistake of the client.
    #[error("the request lacks the header field {0:?}")]
    NoHeader(String),
    /// The request lacks a cookie; a mistake of the client.
    #[error("the request lacks the cookie {0:?}")]
    NoCookie(String),
    /// The request has several cookies of that name, which differ; a mistake of the client.
    #[error("the request has several cookies {0:?}, which differ")]
    SeveralCookies(String),
    /// Neither the target nor the `Host` field names a host.
    #[error(
        "the request names no host: give it a whole URI, or pick another key, such as `.key(Global)`"
    )]
    NoHost,
    /// The function that picks keys returned none; a mistake of the client.
    #[error("the request does not say whose it is")]
    Unidentified,
    /// As before, where [`OnMissing::Status`](super::OnMissing::Status) says how that is answered.
    #[error("the request does not say whose it is")]
    Status(StatusCode),
}

/// Is a key, or may be one: text, bytes, addresses, options of these.
///
/// Text is what clients chose, so it is no address to the allow and deny lists, whatever it reads.
pub trait IntoKey {
    /// Returns the key, if there is one.
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

impl IntoKey for u64 {
    fn into_key(self) -> Option<Key<'static>> {
        Some(Key::from(self.to_string()).opaque())
    }
}

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
