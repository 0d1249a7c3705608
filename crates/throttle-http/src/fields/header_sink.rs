//! Where header fields are written.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};

/// A header field of the draft, which is a list.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an adapter has a name for each")]
pub enum RateLimitHeader {
    /// `RateLimit`
    RateLimit,
    /// `RateLimit-Policy`
    RateLimitPolicy,
}

impl RateLimitHeader {
    /// Returns the name in lower case.
    #[inline]
    #[must_use]
    pub fn name(self) -> HeaderName {
        match self {
            Self::RateLimit => const { HeaderName::from_static("ratelimit") },
            Self::RateLimitPolicy => const { HeaderName::from_static("ratelimit-policy") },
        }
    }
}

/// A map of header fields; for frameworks that have another than [`HeaderMap`].
pub trait HeaderSink {
    /// Returns whether there is such a field.
    fn has(&self, name: &HeaderName) -> bool;

    /// Writes a field, in place of what is there.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    /// Writes one of the fields that are lists ([RFC 9110, section 5.3]), after what is there already: on one line,
    /// by [`join_list`], since there are clients that read no more than the first. What is no
    /// value of a field is left out; those of this crate are visible ASCII.
    ///
    /// [RFC 9110, section 5.3]: https://www.rfc-editor.org/rfc/rfc9110#section-5.3
    fn extend_list(&mut self, list: RateLimitHeader, value: Bytes);
}

/// Joins lines of a list into one, as [`HeaderSink::extend_list`] is to write it.
#[must_use]
pub fn join_list<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    lines.collect::<Vec<_>>().join(&b", "[..])
}

impl HeaderSink for HeaderMap {
    #[inline]
    fn has(&self, name: &HeaderName) -> bool {
        self.contains_key(name)
    }

    #[inline]
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }

    #[inline]
    fn extend_list(&mut self, list: RateLimitHeader, value: Bytes) {
        match self.entry(list.name()) {
            Entry::Vacant(none) => {
                if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                    none.insert(value);
                }
            }
            Entry::Occupied(mut there) => {
                let lines = there.iter().map(HeaderValue::as_bytes).chain([&value[..]]);
                if let Ok(line) = HeaderValue::from_bytes(&join_list(lines)) {
                    there.insert(line);
                }
            }
        }
    }
}
