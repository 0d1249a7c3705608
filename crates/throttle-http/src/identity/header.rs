//! A header field as a key.

use http::HeaderName;
use throttle_core::Key;

use super::{extract::ExtractKey, into_key::NoKey, invalid::InvalidKey, missing::OnMissing};
use crate::{
    config_warning::{ConfigWarning, RequestSample},
    head::RequestHead,
};

/// Limits by the value of a header field: an API key, a tenant.
///
/// The first value counts, as its bytes, whether they are text or not. A request without the field is
/// refused with 400, unless [`Header::missing`] says otherwise. Believe only
/// fields that your service or a proxy of yours has checked: a client that can send any value has as
/// many limits as it likes.
///
/// A limiter knows keys by their bytes alone: a field of `192.0.2.1` and the client address 192.0.2.1 share what a
/// rule of one limiter counts. Where a layer by header and one by [`ClientIp`](super::ClientIp) share a limiter, give
/// each a rule of its own, or make the key by a function, as `Key::parts(["key", value])`.
#[derive(Clone, Debug)]
#[must_use]
pub struct Header {
    name: Result<HeaderName, String>,
    missing: OnMissing,
}

impl Header {
    /// Names the field, in any case.
    ///
    /// What can be no field's name is an error when the middleware is built.
    pub fn new(name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        let name = HeaderName::try_from(name).map_err(|_| name.to_owned());
        Self { name, missing: OnMissing::Reject }
    }

    /// Says what becomes of a request without the field; default [`OnMissing::Reject`].
    pub fn missing(mut self, missing: OnMissing) -> Self {
        self.missing = missing;
        self
    }
}

impl ExtractKey for Header {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        match &self.name {
            Ok(name) => match head.headers().get(name) {
                Some(value) => Ok(Key::from(value.as_bytes())),
                None => self.missing.key(head, || NoKey::NoHeader(name.as_str().to_owned())),
            },
            Err(name) => self.missing.key(head, || NoKey::NoHeader(name.clone())),
        }
    }

    fn validate(&self) -> Result<(), InvalidKey> {
        self.name.as_ref().map_err(|name| InvalidKey::HeaderName(name.clone()))?;
        self.missing.validate()
    }

    fn warning(&self, sample: Option<&RequestSample<'_>>) -> Option<ConfigWarning> {
        self.missing.warning(sample)
    }
}

#[cfg(test)]
mod tests;
