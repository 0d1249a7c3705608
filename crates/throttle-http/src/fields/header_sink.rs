//! Where header fields are written.

use std::sync::Once;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};
use sfv::{Parser, visitor::Ignored};

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

    /// Writes one of the fields that are lists, with the entries that are there already, as [`join_list`] joins them.
    /// What is no value of a field is left out; those of this crate are visible ASCII.
    fn extend_list(&mut self, list: RateLimitHeader, value: Bytes);
}

/// Returns the value of a field with the lines that a response has already and the value that is added: on one
/// line, since some clients read only the first.
///
/// Where the lines are not a List of structured fields ([RFC 9651]), such as those of an older draft, the added value
/// replaces them, and the log says so once: a client that reads structured fields would read nothing of both.
///
/// [RFC 9651]: https://www.rfc-editor.org/rfc/rfc9651#section-4.2.1
#[must_use]
pub fn join_list<'a>(
    list: RateLimitHeader,
    lines: impl Iterator<Item = &'a [u8]>,
    added: &[u8],
) -> Vec<u8> {
    static REPLACED: Once = Once::new();
    let lines: Vec<_> = lines.filter(|line| !line.trim_ascii().is_empty()).collect();
    let before = lines.join(&b", "[..]);
    if before.is_empty() {
        return added.to_vec();
    }
    if Parser::new(&before).parse_list_with_visitor(&mut Ignored).is_err() {
        REPLACED.call_once(|| {
            tracing::warn!(
                field = %list.name(),
                "a response already has this header field, and its value is not a List (RFC 9651), such as \
                 that of an older draft; it is replaced, in all such responses"
            );
        });
        return added.to_vec();
    }
    [&before, added].join(&b", "[..])
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
                let lines = there.iter().map(HeaderValue::as_bytes);
                if let Ok(line) = HeaderValue::from_bytes(&join_list(list, lines, &value)) {
                    there.insert(line);
                }
            }
        }
    }
}
