//! What becomes of a request that does not say whose it is.

use http::StatusCode;
use throttle_core::Key;

use super::{client_ip::ClientIp, extract::ExtractKey, into_key::NoKey, invalid::InvalidKey};
use crate::{
    config_warning::{ConfigWarning, RequestSample},
    head::RequestHead,
};

/// No field and no cookie can hold this byte, so that nobody can name such a key.
const ANONYMOUS: &[u8] = b"\0anonymous";
const CLIENT_IP: &str = "\0client";

/// Says what becomes of a request that lacks the header field or cookie that is its key, has several such
/// cookies which differ, or of which a lookup does not find whose it is.
///
/// No client can name the keys of those that lack it: what it sends is never equal to them.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_http::*; pub use throttle_http::identity::*; }
/// use ratethrottle::{ClientIp, Header, identity::OnMissing};
///
/// let strict = Header::new("x-api-key");
/// let shared = Header::new("x-api-key").missing(OnMissing::Anonymous);
/// let behind_a_proxy = ClientIp::new().trusted_proxies(["10.0.0.0/8"]);
/// let by_address = Header::new("x-api-key").missing(OnMissing::ClientIp(behind_a_proxy));
/// ```
#[derive(Clone, Default, Debug)]
#[non_exhaustive]
pub enum OnMissing {
    /// It is refused with 400.
    #[default]
    Reject,
    /// It is refused with this status; one that is neither 4xx nor 5xx is 400.
    ///
    /// [RFC 9110] wants a `WWW-Authenticate` field beside 401; a layer around this one can add it.
    ///
    /// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
    Status(StatusCode),
    /// All such requests share one limit.
    Anonymous,
    /// It is limited by the client's address, which the lists see too.
    ClientIp(ClientIp),
}

impl OnMissing {
    pub(super) fn key<'a>(
        &'a self,
        head: &RequestHead<'a>,
        lacking: impl FnOnce() -> NoKey,
    ) -> Result<Key<'a>, NoKey> {
        match self {
            Self::Reject => Err(lacking()),
            Self::Status(status) => Err(NoKey::Status(*status)),
            Self::Anonymous => Ok(Key::from(ANONYMOUS)),
            Self::ClientIp(client) => Ok(client.extract(head)?.scoped(CLIENT_IP)),
        }
    }

    pub(super) fn warning(&self, sample: Option<&RequestSample<'_>>) -> Option<ConfigWarning> {
        match self {
            Self::ClientIp(client) => client.warning(sample),
            _ => None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidKey> {
        match self {
            Self::ClientIp(client) => client.validate(),
            _ => Ok(()),
        }
    }
}
