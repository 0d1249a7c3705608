//! Rejections in the form that gRPC clients read: a status in header fields, and no body.
//!
//! A gRPC response is always HTTP 200. A client that receives an HTTP 429 reports it as UNAVAILABLE and retries
//! immediately. So a rejection is made as for every request, and then translated if the content type of the
//! request is gRPC.

mod message;
mod proto;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRAILER, TRANSFER_ENCODING,
    },
};
use throttle_core::Decisions;

use crate::head::RequestHead;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;

/// The protocol in which a client reads a rejection.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum Protocol {
    /// HTTP: a status and a body.
    #[default]
    Http,
    /// gRPC: a status in the header fields
    /// ([gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)).
    Grpc,
    /// gRPC-Web: as gRPC
    /// ([its protocol](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md)).
    GrpcWeb,
    /// gRPC-Web with base64 bodies.
    GrpcWebText,
}

impl Protocol {
    fn of_post(content_type: &[u8]) -> Self {
        let kind = content_type.split(|byte| b"+;".contains(byte)).next().unwrap_or_default();
        let is = |name: &str| kind.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("application/grpc") => Self::Grpc,
            () if is("application/grpc-web") => Self::GrpcWeb,
            () if is("application/grpc-web-text") => Self::GrpcWebText,
            () => Self::Http,
        }
    }

    /// Returns the protocol of a request: gRPC for a `POST` of `application/grpc` or one of its variants.
    pub(crate) fn of_head(head: &RequestHead<'_>) -> Self {
        if *head.method() != Method::POST {
            return Self::Http; // most requests end here, before a field is looked up
        }
        head.content_type().map_or(Self::Http, Self::of_post)
    }

    /// Translates a rejection that no rule decided.
    pub(crate) fn undecided(self, rejection: Response<Bytes>) -> Response<Bytes> {
        self.translate(rejection, UNAVAILABLE, None, None)
    }

    /// Translates a rejection by rules; `own` if a function of the service made the response.
    pub(crate) fn denied(
        self,
        rejection: Response<Bytes>,
        decisions: &Decisions,
        own: bool,
    ) -> Response<Bytes> {
        let by_rule = !own && rejection.status() == StatusCode::TOO_MANY_REQUESTS;
        let message = by_rule.then(|| message::of_denial(decisions));
        self.translate(rejection, RESOURCE_EXHAUSTED, message, Some(decisions))
    }

    fn translate(
        self,
        mut rejection: Response<Bytes>,
        otherwise: u8,
        message: Option<String>,
        decisions: Option<&Decisions>,
    ) -> Response<Bytes> {
        let content_type = match self {
            Self::Http => return rejection,
            Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web+proto",
            Self::GrpcWebText => "application/grpc-web-text+proto",
        };
        if is_status(&rejection) {
            return rejection; // a custom response that is gRPC already
        }
        let code = code(rejection.status(), otherwise);
        let message = message.or_else(|| message::of_body(&rejection));
        let message = message.unwrap_or_else(|| message::of_code(code).to_owned());
        let details = proto::Details {
            code,
            message: &message,
            retry_after: retry_after(&rejection, decisions),
            violated: decisions.filter(|_| code == RESOURCE_EXHAUSTED),
        };
        let details = details.encode();

        *rejection.status_mut() = StatusCode::OK;
        *rejection.body_mut() = Bytes::new();
        let headers = rejection.headers_mut();
        for of_body in [CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, TRAILER] {
            headers.remove(of_body);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
        headers.insert(GRPC_MESSAGE, message::percent_encoded(&message));
        if let Some(details) = details {
            headers.insert(GRPC_DETAILS, details);
        }
        rejection
    }
}

/// Returns whether a response is a gRPC status already.
pub(crate) fn is_status(response: &Response<Bytes>) -> bool {
    response.headers().contains_key(GRPC_STATUS)
}

/// Returns the gRPC code for an HTTP status, by the mapping of [google.rpc.Code]; `otherwise` for all other statuses.
///
/// [google.rpc.Code]: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
fn code(status: StatusCode, otherwise: u8) -> u8 {
    match status.as_u16() {
        400 | 411 => 3, // INVALID_ARGUMENT
        401 => 16,      // UNAUTHENTICATED
        403 => PERMISSION_DENIED,
        404 => 5,  // NOT_FOUND
        409 => 10, // ABORTED
        429 => RESOURCE_EXHAUSTED,
        499 => 1,  // CANCELLED
        500 => 13, // INTERNAL
        501 => 12, // UNIMPLEMENTED
        503 => UNAVAILABLE,
        504 => 4, // DEADLINE_EXCEEDED
        _ => otherwise,
    }
}

/// Returns how long to wait: the exact wait of the rule if there is one, otherwise `Retry-After` of the response.
fn retry_after(rejection: &Response<Bytes>, decisions: Option<&Decisions>) -> Option<Duration> {
    if rejection.status() == StatusCode::FORBIDDEN {
        return None;
    }
    let of_rule = decisions.and_then(|decisions| decisions.most_restrictive().retry_after());
    of_rule.or_else(|| {
        let seconds = rejection.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    })
}
