//! Rejections as gRPC clients read them: a status in header fields, and no body.
//!
//! A gRPC response is HTTP 200 whatever happened; a client that is sent 429 makes UNAVAILABLE of it and
//! comes again at once. So a refusal is made as for every request, and translated for requests that are
//! gRPC, which their content type says.

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

/// Says in which form a client reads a refusal.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum Protocol {
    /// As a status and a body.
    #[default]
    Http,
    /// As a gRPC status in the header fields
    /// ([gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)).
    Grpc,
    /// The same, of gRPC-Web
    /// ([its protocol](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md)).
    GrpcWeb,
    /// The same, where bodies are base64.
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

    /// Returns what a request is: gRPC if it is a `POST` of `application/grpc` or one of its kinds.
    pub(crate) fn of_head(head: &RequestHead<'_>) -> Self {
        if *head.method() != Method::POST {
            return Self::Http; // most requests end here, before a field is looked up
        }
        head.content_type().map_or(Self::Http, Self::of_post)
    }

    /// Translates a refusal that no rule decided.
    pub(crate) fn undecided(self, refusal: Response<Bytes>) -> Response<Bytes> {
        self.translate(refusal, UNAVAILABLE, None, None)
    }

    /// Translates a refusal by rules; `own` if the service made it by a function of its own.
    pub(crate) fn denied(
        self,
        refusal: Response<Bytes>,
        decisions: &Decisions,
        own: bool,
    ) -> Response<Bytes> {
        let by_rule = !own && refusal.status() == StatusCode::TOO_MANY_REQUESTS;
        let message = by_rule.then(|| message::of_denial(decisions));
        self.translate(refusal, RESOURCE_EXHAUSTED, message, Some(decisions))
    }

    fn translate(
        self,
        mut refusal: Response<Bytes>,
        otherwise: u8,
        message: Option<String>,
        decisions: Option<&Decisions>,
    ) -> Response<Bytes> {
        let content_type = match self {
            Self::Http => return refusal,
            Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web+proto",
            Self::GrpcWebText => "application/grpc-web-text+proto",
        };
        if refusal.headers().contains_key(GRPC_STATUS) {
            return refusal; // the service's own, and gRPC already
        }
        let code = code(refusal.status(), otherwise);
        let message = message.or_else(|| message::of_body(&refusal));
        let message = message.unwrap_or_else(|| message::of_code(code).to_owned());
        let details = proto::Details {
            code,
            message: &message,
            retry_after: retry_after(&refusal, decisions),
            violated: decisions.filter(|_| code == RESOURCE_EXHAUSTED),
        };
        let details = details.encode();

        *refusal.status_mut() = StatusCode::OK;
        *refusal.body_mut() = Bytes::new();
        let headers = refusal.headers_mut();
        for of_body in [CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, TRAILER] {
            headers.remove(of_body);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
        headers.insert(GRPC_MESSAGE, message::percent_encoded(&message));
        if let Some(details) = details {
            headers.insert(GRPC_DETAILS, details);
        }
        refusal
    }
}

/// Returns the code of a status, as [google.rpc.Code] pairs them; of others the one that is given.
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

/// Returns how long to wait: exactly, where a rule said it, else as the refusal's field has it.
fn retry_after(refusal: &Response<Bytes>, decisions: Option<&Decisions>) -> Option<Duration> {
    if refusal.status() == StatusCode::FORBIDDEN {
        return None;
    }
    let of_rule = decisions.and_then(|decisions| decisions.most_restrictive().retry_after());
    of_rule.or_else(|| {
        let seconds = refusal.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    })
}
