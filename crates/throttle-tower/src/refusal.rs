//! A refusal as the method of the request wants it.

use std::mem;

use http::{Method, header::CONTENT_LENGTH};
use throttle_http::Refusal;

/// Takes the body off where the method was HEAD, and says how long it would be ([RFC 9110, section 9.3.2]).
///
/// Servers differ: over HTTP/2, hyper would send it, and clients break such a stream off.
///
/// [RFC 9110, section 9.3.2]: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
pub(crate) fn fit(method: &Method, mut refusal: Refusal) -> Refusal {
    if method == Method::HEAD {
        let body = mem::take(refusal.body_mut());
        refusal.headers_mut().entry(CONTENT_LENGTH).or_insert(body.len().into());
    }
    refusal
}
