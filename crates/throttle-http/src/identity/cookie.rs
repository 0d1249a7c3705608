//! A cookie as a key.

use http::header::COOKIE;
use throttle_core::Key;

use super::{ExtractKey, InvalidKey, Missing, NoKey};
use crate::{Mistake, RequestHead, Seen};

/// Limits by the value of a cookie: a session.
///
/// Of several cookies of the name the first counts, as its bytes, whether they are text or not; the name
/// is compared to the letter. A request without the cookie is refused with 400, unless
/// [`Cookie::missing`] says otherwise. Believe only cookies that your service or a proxy of yours has
/// checked: a client that can send any value has as many limits as it likes.
#[derive(Clone, Debug)]
#[must_use]
pub struct Cookie {
    name: String,
    missing: Missing,
}

impl Cookie {
    /// Names the cookie.
    ///
    /// What can be no cookie's name is an error when the middleware is built.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), missing: Missing::Refuse }
    }

    /// Says what becomes of a request without the cookie; default [`Missing::Refuse`].
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Finds the value ([RFC 6265, section 4.2.1](https://www.rfc-editor.org/rfc/rfc6265#section-4.2.1)).
    fn value<'a>(&self, head: &RequestHead<'a>) -> Option<&'a [u8]> {
        let lines = head.headers().get_all(COOKIE).iter();
        // HTTP/2 may send each cookie in a line of its own.
        let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        pairs.find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(self.name.as_bytes())?;
            value.strip_prefix(b"=")
        })
    }
}

impl ExtractKey for Cookie {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        match self.value(head) {
            Some(value) => Ok(Key::from(value)),
            None => self.missing.key(head, || NoKey::NoCookie(self.name.clone())),
        }
    }

    fn validate(&self) -> Result<(), InvalidKey> {
        let name = &self.name;
        if name.is_empty() || name.contains(['=', ';']) || name.trim() != name {
            return Err(InvalidKey::CookieName(name.clone()));
        }
        self.missing.validate()
    }

    fn mistake(&self, seen: Option<&Seen<'_>>) -> Option<Mistake> {
        self.missing.mistake(seen)
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
    fn a_cookie_is_found_wherever_it_stands_and_only_by_its_whole_name() {
        assert_eq!(key(&[b"sid=a"]).as_deref(), Some(&b"a"[..]));
        assert_eq!(key(&[b"x=1; sid=a=b; y=2"]).as_deref(), Some(&b"a=b"[..]));
        assert_eq!(key(&[b"x=1", b"sid=a"]).as_deref(), Some(&b"a"[..]));
        assert_eq!(key(&[b"sid=a; sid=b"]).as_deref(), Some(&b"a"[..]));
        assert_eq!(key(&[b"sid="]).as_deref(), Some(&b""[..]));
        for lacking in [&b"xsid=a"[..], b"sidx=a", b"SID=a", b"sid", b"x=sid=a", b";;", b""] {
            assert_eq!(key(&[lacking]), None, "{lacking:?}");
        }
        assert_eq!(key(&[]), None);
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
    fn a_value_that_is_no_text_is_a_key() {
        assert_eq!(key(&[b"sid=\xff\xfe"]).as_deref(), Some(&b"\xff\xfe"[..]));
    }
}
