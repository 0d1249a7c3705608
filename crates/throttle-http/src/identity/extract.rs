//! Extraction of keys: the trait, functions, and tuples.

use throttle_core::Key;

use super::{
    into_key::{IntoKey, NoKey},
    invalid::InvalidKey,
    keyed::{KeyError, KeyFuture, KeyWithRules},
};
use crate::{
    config_warning::{ConfigWarning, RequestSample},
    head::RequestHead,
};

/// A source of keys: requests with the same key share a limit.
///
/// It is implemented by [`ClientIp`](super::ClientIp), [`Header`](super::Header) and the other keys of this
/// module, by functions from a [`RequestHead`] to [a key](IntoKey), and by tuples of up to four of these.
/// Tuples with different parts never give the same key.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_http::*; pub use throttle_http::identity::*; }
/// use ratethrottle::{ClientIp, Header, RequestHead, identity::ExtractKey};
///
/// fn takes(_: impl ExtractKey) {}
///
/// takes(ClientIp::new());
/// takes(Header::new("x-api-key"));
/// takes(|head: &RequestHead<'_>| head.header("x-tenant").map(str::to_owned));
/// takes((Header::new("x-tenant"), ClientIp::new()));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of keys",
    label = "expected `Header::new(…)`, `ClientIp::new()`, another key, a tuple of keys, or a function",
    note = "for a header field write `Header::new(\"x-api-key\")`, for a cookie `Cookie::new(\"session\")`, for one key for \
            all requests `Global`",
    note = "for a function write `.key_by(|head| …)`; it returns text, bytes, an integer, an `IpAddr`, a `Key<'static>` \
            or an `Option` of these"
)]
pub trait ExtractKey: Send + Sync + 'static {
    /// Returns the key of a request.
    ///
    /// # Errors
    ///
    /// Returns [`NoKey`] if the request has no key.
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey>;

    /// Checks the configuration; called once, when the middleware is built.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidKey`] for a trusted proxy that is not a network, and for an invalid header field or cookie
    /// name.
    fn validate(&self) -> Result<(), InvalidKey> {
        Ok(())
    }

    /// Returns whether the key is asynchronous; then [`extract_later`](Self::extract_later) is called instead
    /// of [`extract`](Self::extract).
    fn is_async(&self) -> bool {
        false
    }

    /// Returns a future of the key; by default it is ready with the key of [`extract`](Self::extract).
    fn extract_later(&self, head: &RequestHead<'_>) -> KeyFuture {
        let key = self.extract(head).map(Key::into_owned).map_err(KeyError::NoKey);
        let keyed = key.map(|key| KeyWithRules { key, rules: None });
        Box::pin(std::future::ready(keyed))
    }

    /// Returns a warning if the configuration is probably wrong. It is called when the middleware is built
    /// (without a sample), and for some of the first requests; each kind of warning is logged once.
    fn warning(&self, sample: Option<&RequestSample<'_>>) -> Option<ConfigWarning> {
        let _ = sample;
        None
    }

    /// Returns whether the key reads the pattern of the route, which some adapters compute only if it is needed.
    fn wants_route(&self) -> bool {
        false
    }
}

// Otherwise the compiler reports that a text is not a function.
#[diagnostic::do_not_recommend]
impl<F, K> ExtractKey for F
where
    F: Fn(&RequestHead<'_>) -> K + Send + Sync + 'static,
    K: IntoKey,
{
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        self(head).into_key().ok_or(NoKey::Unidentified)
    }

    fn warning(&self, sample: Option<&RequestSample<'_>>) -> Option<ConfigWarning> {
        sample?.proxy_as_key()
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

            fn warning(&self, sample: Option<&RequestSample<'_>>) -> Option<ConfigWarning> {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                None$(.or_else(|| $part.warning(sample)))+
            }

            fn is_async(&self) -> bool {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                $($part.is_async())||+
            }

            fn extract_later(&self, head: &RequestHead<'_>) -> KeyFuture {
                #[expect(non_snake_case, reason = "the macro names a part after its type")]
                let ($($part,)+) = self;
                let parts = [$($part.extract_later(head)),+];
                Box::pin(async move {
                    let mut keyed = Vec::with_capacity(parts.len());
                    for part in parts {
                        keyed.push(part.await?);
                    }
                    Ok(KeyWithRules::join(keyed))
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
