//! A header field as a key.

use http::HeaderName;
use throttle_core::Key;

use super::{extract::ExtractKey, into_key::NoKey, invalid::InvalidKey, missing::OnMissing};
use crate::{
    config_warning::{ConfigWarning, RequestSample},
    head::RequestHead,
};

/// The value of a header field as a key, such as an API key or a tenant.
///
/// If the field has several values, the first is the key. The value does not have to be text. A request without the
/// field, or with an empty value, is rejected with 400, or handled as configured by [`missing`](Self::missing).
///
/// Use only fields that your service or a proxy has verified. A client that can send any value has an unlimited
/// number of limits.
///
/// A limiter compares keys by their bytes: a field with the value `192.0.2.1` and the client address 192.0.2.1
/// are the same key. If a layer by header and a layer by [`ClientIp`](super::ClientIp) share a limiter, give
/// each its own rule, or build the key with a function, for example as `Key::parts(["key", value])`.
#[derive(Clone, Debug)]
#[must_use]
pub struct Header {
    name: Result<HeaderName, String>,
    missing: OnMissing,
}

impl Header {
    /// Creates a key from the header field with this name, which is case-insensitive.
    ///
    /// An invalid name is an error when the middleware is built.
    pub fn new(name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        let name = HeaderName::try_from(name).map_err(|_| name.to_owned());
        Self { name, missing: OnMissing::Reject }
    }

    /// Sets how a request without the field, or with an empty value, is handled. The default is [`OnMissing::Reject`].
    pub fn missing(mut self, missing: OnMissing) -> Self {
        self.missing = missing;
        self
    }
}

impl ExtractKey for Header {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        match &self.name {
            Ok(name) => match head.headers().get(name).filter(|value| !value.is_empty()) {
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
