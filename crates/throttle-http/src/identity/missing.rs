//! The handling of requests without a key.

use http::StatusCode;
use throttle_core::Key;

use super::{client_ip::ClientIp, extract::ExtractKey, into_key::NoKey, invalid::InvalidKey};
use crate::{
    config_warning::{ConfigWarning, RequestSample},
    head::RequestHead,
};

/// A key that no client can send, because neither a header field nor a cookie can contain a NUL.
const ANONYMOUS: &[u8] = b"\0anonymous";
const CLIENT_IP: &str = "\0client";

/// The handling of requests without a key: those without the header field or cookie, with several different
/// cookies of the name, or for which a lookup finds no client.
///
/// The keys of these requests are separate: no value that a client sends is equal to them.
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
    /// Reject the request with 400.
    #[default]
    Reject,
    /// Reject the request with this status; a status that is neither 4xx nor 5xx becomes 400.
    ///
    /// [RFC 9110] requires a `WWW-Authenticate` field in a 401 response; an outer layer can add it.
    ///
    /// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
    Status(StatusCode),
    /// Limit all such requests together, with one key.
    Anonymous,
    /// Limit such a request by the client address, which the allow and deny lists also see.
    ClientIp(ClientIp),
}

impl OnMissing {
    pub(super) fn key<'a>(
        &'a self,
        head: &RequestHead<'a>,
        no_key: impl FnOnce() -> NoKey,
    ) -> Result<Key<'a>, NoKey> {
        match self {
            Self::Reject => Err(no_key()),
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
