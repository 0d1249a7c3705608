//! What a request costs by the length of its body.

use http::{
    Method, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::{ExtractCost, InvalidCost, NoCost};
use crate::head::RequestHead;

/// Charges a request by the length that its `Content-Length` says ([RFC 9110, section 8.6]), in units
/// such as KiB; a unit that is begun counts, and a request without a body costs one.
///
/// The server behind reads no more than that length, so that it cannot be understated. A request whose
/// body is as long as it turns out to be, sent in chunks or without any length, is a matter of choice: see
/// [`missing`](Self::missing). Over HTTP/1.1 a request that has neither field has no body ([RFC 9112, section
/// 6.3]). Over HTTP/2, and of calls that are not written yet, that is not known by the head: there requests by `GET`, `HEAD`, `DELETE`, `OPTIONS`,
/// `TRACE` and `CONNECT` that say no length are taken for requests without one.
///
/// # Errors
///
/// A unit or a bound of 0 is an error when the middleware is built.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_http::*; pub mod options { pub use super::*; } }
/// use ratethrottle::options::{ContentLength, OnMissingLength, Options};
///
/// let uploads = Options::new()
///     .limit("upload", "10240/hour") // KiB
///     .cost(ContentLength::in_kib().at_most(1024).missing(OnMissingLength::Costs(1024)));
/// ```
///
/// [RFC 9112, section 6.3]: https://www.rfc-editor.org/rfc/rfc9112#section-6.3
/// [RFC 9110, section 8.6]: https://www.rfc-editor.org/rfc/rfc9110#section-8.6
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct ContentLength {
    unit: u64,
    most: u64,
    missing: OnMissingLength,
}

/// Says what becomes of a request with a body whose length it does not say.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum OnMissingLength {
    /// It is refused with 411 (Length Required).
    #[default]
    Reject,
    /// It costs so much, however long it turns out to be; 0 lets it pass uncharged.
    Costs(u64),
}

impl ContentLength {
    /// Counts in units of so many bytes.
    pub fn in_units_of(bytes: u64) -> Self {
        Self { unit: bytes, most: u64::MAX, missing: OnMissingLength::default() }
    }

    /// Counts in units of 1024 bytes.
    pub fn in_kib() -> Self {
        Self::in_units_of(1024)
    }

    /// Bounds the cost; default: no bound, so that a request which costs more than the limit is refused,
    /// and told of no time when it would pass.
    pub fn at_most(mut self, cost: u64) -> Self {
        self.most = cost;
        self
    }

    /// Says what becomes of a request with a body of unknown length; default [`OnMissingLength::Reject`].
    pub fn missing(mut self, missing: OnMissingLength) -> Self {
        self.missing = missing;
        self
    }

    fn of_length(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.unit.max(1)).clamp(1, self.most.max(1))
    }
}

impl ExtractCost for ContentLength {
    fn cost(&self, head: &RequestHead<'_>) -> u64 {
        self.try_cost(head).unwrap_or(self.most)
    }

    fn try_cost(&self, head: &RequestHead<'_>) -> Result<u64, NoCost> {
        let in_chunks = head.headers().contains_key(TRANSFER_ENCODING);
        let said = (!in_chunks).then(|| length(head)).flatten();
        match (said, self.missing) {
            (Some(bytes), _) => Ok(self.of_length(bytes)),
            (None, _) if !in_chunks && is_bodiless(head) => Ok(1),
            (None, OnMissingLength::Costs(cost)) => Ok(cost),
            (None, OnMissingLength::Reject) => Err(NoCost::NoLength),
        }
    }

    fn validate(&self) -> Result<(), InvalidCost> {
        match (self.unit, self.most) {
            (0, _) => Err(InvalidCost::new("a unit of 0 bytes", "use 1024 for KiB")),
            (_, 0) => Err(InvalidCost::new("a cost of at most 0", "the least cost is 1")),
            _ => Ok(()),
        }
    }
}

/// Returns what the field says, if it says one number; one that is too great for 64 bits is the greatest.
fn length(head: &RequestHead<'_>) -> Option<u64> {
    let mut lines = head.headers().get_all(CONTENT_LENGTH).iter();
    let first = lines.next()?;
    let digits = first.to_str().ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let alike = lines.all(|line| line == first);
    (is_number && alike).then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Returns whether a request without `Transfer-Encoding` says no length because it has no body: by its version,
/// or because its method gives no meaning to one (RFC 9110, section 9.3).
fn is_bodiless(head: &RequestHead<'_>) -> bool {
    const METHODS: [Method; 6] = [
        Method::GET,
        Method::HEAD,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    let as_written = head.version() < Version::HTTP_2 && !head.is_call();
    let has_none = as_written || METHODS.contains(head.method());
    has_none && !head.headers().contains_key(CONTENT_LENGTH)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn cost(by: ContentLength, method: Method, fields: &[(&'static str, &[u8])]) -> Option<u64> {
        let mut request =
            Request::builder().method(method).version(Version::HTTP_2).body(()).unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        by.try_cost(&RequestHead::new(&request, None)).ok()
    }

    fn posted(by: ContentLength, length: &str) -> Option<u64> {
        cost(by, Method::POST, &[("content-length", length.as_bytes())])
    }

    #[test]
    fn a_unit_that_is_begun_counts_and_nothing_costs_one() {
        let kib = ContentLength::in_kib();
        for (length, units) in [("0", 1), ("1", 1), ("1024", 1), ("1025", 2), ("10240", 10)] {
            assert_eq!(posted(kib, length), Some(units), "{length}");
        }
        assert_eq!(posted(ContentLength::in_units_of(1), "007"), Some(7));
    }

    #[test]
    fn the_cost_has_a_bound_whatever_is_said() {
        let bounded = ContentLength::in_units_of(1).at_most(50);
        assert_eq!(posted(bounded, "51"), Some(50));
        assert_eq!(posted(bounded, "99999999999999999999999999"), Some(50));
        let unbounded = ContentLength::in_units_of(1);
        assert_eq!(posted(unbounded, "99999999999999999999999999"), Some(u64::MAX));
    }

    #[test]
    fn what_is_no_length_is_missing() {
        let by = ContentLength::in_kib().missing(OnMissingLength::Costs(7));
        for length in ["", "-1", "+1", "1 1", "1,1", "0x10", "1.5", "ten"] {
            assert_eq!(posted(by, length), Some(7), "{length:?}");
            assert_eq!(posted(ContentLength::in_kib(), length), None, "{length:?}");
        }
        let two = [("content-length", &b"1"[..]), ("content-length", b"2")];
        assert_eq!(cost(by, Method::POST, &two), Some(7));
        let twice = [("content-length", &b"1"[..]), ("content-length", b"1")];
        assert_eq!(cost(by, Method::POST, &twice), Some(1));
        assert_eq!(cost(by, Method::POST, &[("content-length", b"\xff")]), Some(7));
        assert_eq!(cost(by, Method::GET, &[("content-length", b"\xff")]), Some(7));
    }

    #[test]
    fn a_body_in_chunks_has_no_length_even_beside_one() {
        let chunks = ("transfer-encoding", &b"chunked"[..]);
        let both = [chunks, ("content-length", b"1")];
        for method in [Method::POST, Method::GET, Method::DELETE] {
            assert_eq!(cost(ContentLength::in_kib(), method.clone(), &[chunks]), None);
            assert_eq!(cost(ContentLength::in_kib(), method, &both), None);
        }
    }

    #[test]
    fn over_http_1_a_request_without_either_field_has_no_body() {
        for version in [Version::HTTP_10, Version::HTTP_11] {
            let request = Request::post("/").version(version);
            let request = request.body(()).unwrap();
            let head = RequestHead::new(&request, None);
            assert_eq!(ContentLength::in_kib().try_cost(&head).ok(), Some(1));
            let call = ContentLength::in_kib().try_cost(&head.as_call());
            assert_eq!(call, Err(NoCost::NoLength), "its client writes it later");
        }
    }

    #[test]
    fn methods_that_seldom_have_a_body_cost_one_without_a_length() {
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS] {
            assert_eq!(cost(ContentLength::in_kib(), method.clone(), &[]), Some(1));
            let length = [("content-length", &b"2048"[..])];
            assert_eq!(cost(ContentLength::in_kib(), method, &length), Some(2));
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, "PURGE".parse().unwrap()] {
            assert_eq!(cost(ContentLength::in_kib(), method, &[]), None);
        }
    }
}
