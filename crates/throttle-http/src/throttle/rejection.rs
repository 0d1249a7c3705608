//! The response to a rejected request.

use std::mem;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE as CONTENT_TYPE_FIELD, RETRY_AFTER},
};

use crate::{
    grpc::Protocol,
    head::RequestHead,
    identity::NoKey,
    options::NoCost,
    problem::{self, CONTENT_TYPE},
};

/// The response to a rejected request.
///
/// Its extensions contain the decisions if [`Options::response_extension`](crate::Options::response_extension) is set.
#[derive(Debug)]
pub struct Rejection(Response<Bytes>);

impl Rejection {
    pub(super) fn new(response: Response<Bytes>) -> Self {
        Self(response)
    }

    /// Creates a rejection with 500, for a service that runs although its limits could not be built. The reason
    /// is logged, and not shown to clients.
    #[must_use]
    pub fn misconfigured(head: &RequestHead<'_>) -> Self {
        let detail = "The server is not configured to limit requests.";
        misconfigured(detail).translated(Protocol::of_head(head))
    }

    /// Returns the response, with its body.
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        self.0
    }

    /// Returns the response to a request with this method. The response to `HEAD` has no body, and
    /// `Content-Length` shows the length that the body would have ([RFC 9110, section 9.3.2]).
    ///
    /// Not all servers remove the body: over HTTP/2, hyper sends the body of a response to `HEAD`, and clients
    /// abort the stream.
    ///
    /// [RFC 9110, section 9.3.2]: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
    #[must_use]
    pub fn into_response_to(mut self, method: &Method) -> Response<Bytes> {
        if method == Method::HEAD {
            let body = mem::take(self.0.body_mut());
            self.0.headers_mut().entry(CONTENT_LENGTH).or_insert(body.len().into());
        }
        self.0
    }

    /// Translates a rejection that no rule decided to the protocol of the client.
    pub(super) fn translated(self, protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http => Self(not_stored(self.0)),
            _ => Self(protocol.undecided(self.0)),
        }
    }
}

/// Adds `Cache-Control: no-store` to a rejection ([RFC 6585, section 4]), unless the service has set the field.
/// A cache could otherwise serve it to other clients.
///
/// [RFC 6585, section 4]: https://www.rfc-editor.org/rfc/rfc6585#section-4
pub(super) fn not_stored(mut response: Response<Bytes>) -> Response<Bytes> {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(no_store);
    response
}

pub(super) fn problem_response(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE_FIELD, HeaderValue::from_static(CONTENT_TYPE));
    response
}

#[cold]
pub(super) fn without_cost(no_cost: NoCost) -> Rejection {
    let NoCost::NoLength = no_cost;
    let body = problem::plain(411, "Length Required", &no_cost.to_string());
    Rejection(problem_response(StatusCode::LENGTH_REQUIRED, body))
}

pub(super) fn misconfigured(detail: &str) -> Rejection {
    let body = problem::plain(500, "Internal Server Error", detail);
    Rejection(problem_response(StatusCode::INTERNAL_SERVER_ERROR, body))
}

/// Rejects a request that could not be checked. It can be retried, while an exceeded limit cannot be undone.
pub(super) fn undecided() -> Rejection {
    let body = problem::reduced_capacity();
    let mut response = problem_response(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Rejection(response)
}

pub(super) fn without_key(no_key: &NoKey) -> Rejection {
    let status = match no_key {
        NoKey::NoPeer => {
            return misconfigured("The server is not configured to tell clients apart.");
        }
        NoKey::Status(status) if status.is_client_error() || status.is_server_error() => *status,
        _ => StatusCode::BAD_REQUEST,
    };
    let title = status.canonical_reason().unwrap_or("Bad Request");
    let body = problem::plain(status.as_u16(), title, &no_key.to_string());
    Rejection(problem_response(status, body))
}
