//! From a request to a key: the trait, functions, and tuples.

use std::net::IpAddr;

use http::StatusCode;
use throttle_core::Key;

use super::{InvalidKey, KeyError, Keyed, LaterKey};
use crate::{Mistake, RequestHead, Seen};

/// Says who is limited.
///
/// Implemented by [`ClientIp`](super::ClientIp), [`Header`](super::Header), functions from a
/// [`RequestHead`] to something that [is a key](IntoKey), and tuples of these, whose parts never run
/// into each other.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_http::*; pub use throttle_http::identity::*; }
/// use ratethrottle::{ClientIp, ExtractKey, Header, RequestHead};
///
/// fn takes(_: impl ExtractKey) {}
///
/// takes(ClientIp::new());
/// takes(Header::new("x-api-key"));
/// takes(|head: &RequestHead<'_>| head.header("x-tenant").map(str::to_owned));
/// takes((Header::new("x-tenant"), ClientIp::new()));
/// ```
pub trait ExtractKey: Send + Sync + 'static {
    /// Returns the key of a request.
    ///
    /// # Errors
    ///
    /// [`NoKey`] when the request has none.
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey>;

    /// Says whether what was configured can be used; asked once, when the middleware is built.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] for a trusted proxy that is no network, and a name that no field or cookie can have.
    fn validate(&self) -> Result<(), InvalidKey> {
        Ok(())
    }

    /// Returns whether the key must be waited for; then [`extract_later`](Self::extract_later) is asked.
    fn is_async(&self) -> bool {
        false
    }

    /// Returns the key of a request when it is awaited; by default that of [`extract`](Self::extract).
    fn extract_later(&self, head: &RequestHead<'_>) -> LaterKey {
        let key = self.extract(head).map(Key::into_owned).map_err(KeyError::NoKey);
        let keyed = key.map(|key| Keyed { key, rules: None });
        Box::pin(std::future::ready(keyed))
    }

    /// Says what looks like a mistake in the configuration, when the middleware is built (before anything
    /// was seen) or by one of its first requests; it is logged once.
    fn mistake(&self, seen: Option<&Seen<'_>>) -> Option<Mistake> {
        let _ = seen;
        None
    }

    /// Returns whether the pattern of the route is looked at; adapters that must make one do it only
    /// then.
    fn wants_route(&self) -> bool {
        false
    }
}

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
    NotSaid,
    /// As before, where [`Missing::Status`](super::Missing::Status) says how that is answered.
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
        Some(Key::network(self, super::IPV6_PREFIX))
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

impl<F, K> ExtractKey for F
where
    F: Fn(&RequestHead<'_>) -> K + Send + Sync + 'static,
    K: IntoKey,
{
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        self(head).into_key().ok_or(NoKey::NotSaid)
    }

    fn mistake(&self, seen: Option<&Seen<'_>>) -> Option<Mistake> {
        seen?.proxy_as_key()
    }
}

macro_rules! tuple {
    ($($part:ident),+) => {
        impl<$($part: ExtractKey),+> ExtractKey for ($($part,)+) {
            fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                Ok(Key::join(&[$($part.extract(head)?),+]))
            }

            fn validate(&self) -> Result<(), InvalidKey> {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                $($part.validate()?;)+
                Ok(())
            }

            fn mistake(&self, seen: Option<&Seen<'_>>) -> Option<Mistake> {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                None$(.or_else(|| $part.mistake(seen)))+
            }

            fn is_async(&self) -> bool {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                $($part.is_async())||+
            }

            fn extract_later(&self, head: &RequestHead<'_>) -> LaterKey {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                let parts = [$($part.extract_later(head)),+];
                Box::pin(async move {
                    let mut keyed = Vec::with_capacity(parts.len());
                    for part in parts {
                        keyed.push(part.await?);
                    }
                    Ok(Keyed::join(keyed))
                })
            }

            fn wants_route(&self) -> bool {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                $($part.wants_route())||+
            }
        }
    };
}

tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);

#[cfg(test)]
mod tests;
