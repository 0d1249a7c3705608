//! A cost by the length of the request body.

use http::{
    Method, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::{ExtractCost, InvalidCost, NoCost};
use crate::head::RequestHead;

/// A cost that depends on the length of the request body, in units such as KiB.
///
/// The length is read from `Content-Length` ([RFC 9110, section 8.6]). A server reads no more than this length,
/// so a client cannot understate it. A partial unit counts as a whole one, and a request without a body costs
/// 1.
///
/// A body without a known length, for example a chunked one, is rejected by default; see [`missing`](Self::missing).
///
/// A request without `Content-Length` has no body if
///
/// - it is HTTP/1 and has no `Transfer-Encoding` either ([RFC 9112, section 6.3]), or
/// - it is HTTP/2, or an outbound call whose fields are not complete yet, and its method is `GET`, `HEAD`,
///   `DELETE`, `OPTIONS`, `TRACE` or `CONNECT`.
///
/// # Errors
///
/// Building the middleware fails if the unit is 0 bytes or the highest cost is 0.
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

/// The handling of requests with a body of unknown length.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum OnMissingLength {
    /// Reject the request with 411 (Length Required).
    #[default]
    Reject,
    /// Charge this cost, regardless of the length of the body; 0 allows the request without a charge.
    Costs(u64),
}

impl ContentLength {
    /// Creates a cost in units of `bytes`; a unit of 0 is an error when the middleware is built.
    pub fn in_units_of(bytes: u64) -> Self {
        Self { unit: bytes, most: u64::MAX, missing: OnMissingLength::default() }
    }

    /// Creates a cost in units of 1024 bytes.
    pub fn in_kib() -> Self {
        Self::in_units_of(1024)
    }

    /// Sets the highest cost of a request. By default, the cost is not bounded, so a request that costs more than the
    /// limit is always rejected, without a `Retry-After`. 0 is an error when the middleware is built.
    pub fn at_most(mut self, cost: u64) -> Self {
        self.most = cost;
        self
    }

    /// Sets the handling of requests with a body of unknown length. The default is [`OnMissingLength::Reject`].
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
        let length = (!in_chunks).then(|| content_length(head)).flatten();
        match (length, self.missing) {
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

/// Returns the content length if the field has exactly one valid value. A number that exceeds 64 bits is `u64::MAX`.
fn content_length(head: &RequestHead<'_>) -> Option<u64> {
    let mut lines = head.headers().get_all(CONTENT_LENGTH).iter();
    let first = lines.next()?;
    let digits = first.to_str().ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let alike = lines.all(|line| line == first);
    (is_number && alike).then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Returns whether a request without `Transfer-Encoding` has no body: because of its version, or because its
/// method defines no meaning for one (RFC 9110, section 9.3).
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
    fn a_partial_unit_counts_and_an_empty_body_costs_one() {
        let kib = ContentLength::in_kib();
        for (length, units) in [("0", 1), ("1", 1), ("1024", 1), ("1025", 2), ("10240", 10)] {
            assert_eq!(posted(kib, length), Some(units), "{length}");
        }
        assert_eq!(posted(ContentLength::in_units_of(1), "007"), Some(7));
    }

    #[test]
    fn the_cost_never_exceeds_its_bound() {
        let bounded = ContentLength::in_units_of(1).at_most(50);
        assert_eq!(posted(bounded, "51"), Some(50));
        assert_eq!(posted(bounded, "99999999999999999999999999"), Some(50));
        let unbounded = ContentLength::in_units_of(1);
        assert_eq!(posted(unbounded, "99999999999999999999999999"), Some(u64::MAX));
    }

    #[test]
    fn an_invalid_length_is_missing() {
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
    fn a_chunked_body_has_no_length_even_with_content_length() {
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
            assert_eq!(call, Err(NoCost::NoLength), "its client adds the length later");
        }
    }

    #[test]
    fn methods_that_rarely_have_a_body_cost_one_without_a_length() {
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
