//! The response to a request that is rejected.

use bytes::Bytes;
use http::Response;

use super::Throttle;
use crate::{fields::expose, head::RequestHead, rejection::Rejected};

impl Throttle {
    /// Builds the response to a request that [`check`](Self::check) rejects, with its header fields and body.
    ///
    /// The body of a response to `HEAD` is empty, and `Content-Length` is the same as for `GET` ([RFC 9110,
    /// section 9.3.2]). Servers differ: over HTTP/2 hyper sends the body of a response to `HEAD`, and
    /// clients abort such a stream.
    ///
    /// With [`response_extension`](crate::Options::response_extension) the extensions hold the decisions.
    ///
    /// [RFC 9110, section 9.3.2]: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    pub fn respond(&self, rejected: Rejected, head: &RequestHead<'_>) -> Response<Bytes> {
        let options = self.options();
        // Only the user's function reads the address.
        let with_peer = options.on_rejection.as_ref().and_then(|_| self.with_peer(head));
        let (mut response, decisions) = rejected.respond(
            with_peer.as_ref().unwrap_or(head),
            options.on_rejection.as_ref(),
            |decisions, response| {
                self.fields.write_retry_after(decisions, response.headers_mut());
            },
        );
        if self.fields.cors_expose() {
            expose(response.headers_mut());
        }
        if let Some(decisions) = decisions.filter(|_| options.response_extension) {
            response.extensions_mut().insert(decisions);
        }
        response
    }
}
