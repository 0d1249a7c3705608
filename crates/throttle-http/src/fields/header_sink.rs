//! The header maps that fields are written to.

use std::sync::Once;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::Entry};
use sfv::{Parser, visitor::Ignored};

/// A header field of the draft; its value is a list.
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

/// A map of header fields, for frameworks that do not use [`HeaderMap`].
pub trait HeaderSink {
    /// Returns whether the map has the field.
    fn has(&self, name: &HeaderName) -> bool;

    /// Sets a field, and replaces its value if there is one.
    fn set(&mut self, name: HeaderName, value: HeaderValue);

    /// Adds a line of a field, and keeps the existing lines.
    fn append(&mut self, name: HeaderName, value: HeaderValue);

    /// Writes a list field, and keeps the entries that it already has, as [`join_list`] joins them. An invalid
    /// header value is ignored; values of this crate are always visible ASCII.
    fn extend_list(&mut self, list: RateLimitHeader, value: Bytes);
}

/// Returns the value of a list field from its existing lines and an added value. The result is a single line,
/// because some clients read only the first.
///
/// If the existing lines are not a List of structured fields ([RFC 9651]), for example those of an older draft,
/// the added value replaces them, and a warning is logged once. A client that parses structured fields could
/// read neither otherwise.
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
                target: "ratethrottle::config",
                field = %list.name(),
                "a response already has this header field, but its value is not a List (RFC 9651), for example that \
                 of an older draft; the value is replaced in all such responses"
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

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.append(name, value);
    }

    #[inline]
    fn extend_list(&mut self, list: RateLimitHeader, value: Bytes) {
        match self.entry(list.name()) {
            Entry::Vacant(entry) => {
                if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                    entry.insert(value);
                }
            }
            Entry::Occupied(mut entry) => {
                let lines = entry.iter().map(HeaderValue::as_bytes);
                if let Ok(line) = HeaderValue::from_bytes(&join_list(list, lines, &value)) {
                    entry.insert(line);
                }
            }
        }
    }
}
