//! A cookie as a key.

use std::borrow::Cow;

use http::header::COOKIE;
use percent_encoding::percent_decode;
use throttle_core::Key;

use super::{extract::ExtractKey, into_key::NoKey, invalid::InvalidKey, missing::OnMissing};
use crate::{
    config_warning::{ConfigWarning, RequestSample},
    head::RequestHead,
};

/// The value of a cookie as a key, such as a session ID.
///
/// Different spellings of a cookie are one key, as they are for frameworks: percent-encoding is decoded, and
/// quotes and whitespace around the value are removed. So `sid=abc`, `sid="abc"` and `sid=%61bc` are the same
/// session. The name is case-sensitive. The value does not have to be text.
///
/// If a request has several cookies with this name and different values, it has no key. Some frameworks read
/// the first and others the last, so a client could otherwise add a different value to each request.
///
/// An empty value counts as missing. A request without a key is rejected with 400, or handled as configured by
/// [`missing`](Self::missing).
///
/// Use only cookies that your service or a proxy has verified. A client that can send any value has an
/// unlimited number of limits. As with [`Header`](super::Header), a value with the text of an address is the
/// same key as that address.
#[derive(Clone, Debug)]
#[must_use]
pub struct Cookie {
    name: String,
    missing: OnMissing,
}

impl Cookie {
    /// Creates a key from the cookie with this name.
    ///
    /// An invalid name is an error when the middleware is built.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), missing: OnMissing::Reject }
    }

    /// Sets how a request without the cookie, or with several different values, is handled. The default is
    /// [`OnMissing::Reject`].
    pub fn missing(mut self, missing: OnMissing) -> Self {
        self.missing = missing;
        self
    }

    /// Finds the value ([RFC 6265, section 4.2.1](https://www.rfc-editor.org/rfc/rfc6265#section-4.2.1)).
    fn value<'a>(&self, head: &RequestHead<'a>) -> Result<Cow<'a, [u8]>, NoKey> {
        let lines = head.headers().get_all(COOKIE).iter();
        // HTTP/2 may send each cookie in a separate line.
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let mut values = pairs.filter_map(|pair| self.value_of(pair));
        let first = values.next().ok_or_else(|| NoKey::NoCookie(self.name.clone()))?;
        match values.all(|other| other == first) {
            true if first.is_empty() => Err(NoKey::NoCookie(self.name.clone())),
            true => Ok(first),
            false => Err(NoKey::SeveralCookies(self.name.clone())),
        }
    }

    fn value_of<'a>(&self, pair: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(equals);
        let own = self.name.as_bytes();
        if *trimmed(name) != *own && *decoded(name) != *own {
            return None;
        }
        Some(match decoded(value.get(1..).unwrap_or_default()) {
            Cow::Borrowed(value) => Cow::Borrowed(unquoted(value)),
            Cow::Owned(value) => Cow::Owned(unquoted(&value).to_vec()),
        })
    }
}

/// Decodes the percent-encoding of a name or a value, and removes the whitespace around it.
///
/// A value that would contain a NUL stays encoded: keys of [`OnMissing`] begin with a NUL, and no client may be
/// able to send one.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    let text = trimmed(text);
    match Cow::from(percent_decode(text)) {
        plain if plain.contains(&0) => Cow::Borrowed(text),
        plain => plain,
    }
}

/// Removes the whitespace around text: Unicode whitespace if it is valid UTF-8, as frameworks do.
fn trimmed(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or_else(|_| text.trim_ascii(), |text| text.trim().as_bytes())
}

fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

impl ExtractKey for Cookie {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        match self.value(head) {
            Ok(Cow::Borrowed(value)) => Ok(Key::from(value)),
            Ok(Cow::Owned(value)) => Ok(Key::from(value)),
            Err(no_key) => self.missing.key(head, || no_key),
        }
    }

    fn validate(&self) -> Result<(), InvalidKey> {
        let name = &self.name;
        let is_forbidden = |c: char| matches!(c, '=' | ';') || c.is_control();
        if name.is_empty() || name.contains(is_forbidden) || name.trim() != name {
            return Err(InvalidKey::CookieName(name.clone()));
        }
        self.missing.validate()
    }

    fn warning(&self, sample: Option<&RequestSample<'_>>) -> Option<ConfigWarning> {
        self.missing.warning(sample)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn key(lines: &[&[u8]]) -> Option<Vec<u8>> {
        let mut request = Request::new(());
        for line in lines {
            let line = http::HeaderValue::from_bytes(line).unwrap();
            request.headers_mut().append(COOKIE, line);
        }
        let cookie = Cookie::new("sid");
        let key = cookie.extract(&RequestHead::new(&request, None)).ok();
        key.map(|key| key.as_bytes().to_vec())
    }

    #[test]
    fn a_cookie_is_found_at_any_position_and_only_by_its_whole_name() {
        assert_eq!(key(&[b"sid=a"]).as_deref(), Some(&b"a"[..]));
        assert_eq!(key(&[b"x=1; sid=a=b; y=2"]).as_deref(), Some(&b"a=b"[..]));
        assert_eq!(key(&[b"x=1", b"sid=a"]).as_deref(), Some(&b"a"[..]));
        assert_eq!(key(&[b"sid=a; sid=a", b"sid=a"]).as_deref(), Some(&b"a"[..]));
        for other in [&b"xsid=a"[..], b"sidx=a", b"SID=a", b"sid", b"x=sid=a", b";;", b""] {
            assert_eq!(key(&[other]), None, "{other:?}");
        }
        assert_eq!(key(&[]), None);
    }

    #[test]
    fn all_spellings_of_a_session_are_one_key() {
        for line in [
            "sid=a b",
            "sid=a%20b",
            "sid=%61%20%62",
            "s%69d=a%20b",
            "sid=\"a b\"",
            "sid=%22a b%22",
            "sid =\ta b ",
            "\u{a0}sid\u{2003}=\u{a0}\u{2003}a b\u{a0}",
            "sid=a b; sid=\"%61 b\"",
        ] {
            assert_eq!(key(&[line.as_bytes()]).as_deref(), Some(&b"a b"[..]), "{line:?}");
        }
        // Invalid encodings, and bytes that are not text.
        assert_eq!(key(&[b"sid=%"]).as_deref(), Some(&b"%"[..]));
        assert_eq!(key(&[b"sid=%zz%4"]).as_deref(), Some(&b"%zz%4"[..]));
        assert_eq!(key(&[b"sid=%ff"]).as_deref(), Some(&b"\xff"[..]));
        assert_eq!(key(&[b"sid=\""]).as_deref(), Some(&b"\""[..]));
    }

    #[test]
    fn an_empty_value_counts_as_missing() {
        for line in [&b"sid="[..], b"sid=\"\"", b"sid=; sid=\"\"", b"sid= "] {
            assert_eq!(key(&[line]), None, "{line:?}");
        }
    }

    #[test]
    fn a_name_that_contains_an_escape_is_found() {
        let mut request = Request::new(());
        request.headers_mut().insert(COOKIE, http::HeaderValue::from_static("a%20b=1"));
        let head = RequestHead::new(&request, None);
        for name in ["a%20b", "a b"] {
            assert_eq!(Cookie::new(name).extract(&head).unwrap().as_bytes(), b"1");
        }
    }

    #[test]
    fn several_different_values_are_no_key() {
        for lines in [
            &[&b"sid=a; sid=b"[..]][..],
            &[b"sid=a", b"sid=b"],
            &[b"sid=a; x=1; sid=\xff"],
            &[b"sid=a; s%69d=b"],
            &[b"sid=; sid=a"],
        ] {
            assert_eq!(key(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn no_spelling_gives_the_key_of_requests_without_the_cookie() {
        let value = key(&[b"sid=%00anonymous"]);
        assert_eq!(value.as_deref(), Some(&b"%00anonymous"[..]));
    }

    #[test]
    fn a_name_that_no_cookie_can_have_is_an_error() {
        for name in ["", "a=b", "a;b", " sid", "sid "] {
            let error = Cookie::new(name).validate();
            assert_eq!(error, Err(InvalidKey::CookieName(name.to_owned())));
        }
        assert_eq!(Cookie::new("__Host-sid").validate(), Ok(()));
    }

    #[test]
    fn a_value_that_is_not_text_is_a_key() {
        assert_eq!(key(&[b"sid=\xff\xfe"]).as_deref(), Some(&b"\xff\xfe"[..]));
    }
}
