//! The message of a gRPC status.

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use serde::Deserialize;
use throttle_core::Decisions;

use super::{PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE};

/// The longest message of a custom response, in characters, because the size of header fields is limited.
const LONGEST: usize = 512;

/// Describes the limit that denies, and how long to wait.
pub(super) fn of_denial(decisions: &Decisions) -> String {
    let most_restrictive = decisions.most_restrictive();
    let rule = most_restrictive.rule();
    match most_restrictive.retry_after() {
        Some(wait) if most_restrictive.listed().is_some() => {
            format!("this client may not use the service for another {wait:?}")
        }
        Some(wait) => format!("the limit {rule:?} is used up; retry in {wait:?}"),
        None if most_restrictive.is_concurrency() => {
            format!(
                "the limit {rule:?} allows no more calls in flight; retry when a call has ended"
            )
        }
        None => format!("the limit {rule:?} does not allow this call; waiting does not help"),
    }
}

/// Returns the body of a rejection, if it is text, or its detail or title, if it is a JSON document.
pub(super) fn of_body(rejection: &Response<Bytes>) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
        title: Option<String>,
    }
    let media_type =
        rejection.headers().get(CONTENT_TYPE).map_or(&b"text/plain"[..], |v| v.as_bytes());
    let media_type = media_type.split(|&byte| byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii().to_ascii_lowercase();
    let text = if media_type.ends_with(b"json") {
        let problem: Problem = serde_json::from_slice(rejection.body()).ok()?;
        problem.detail.or(problem.title)?
    } else if media_type == b"text/plain" {
        std::str::from_utf8(rejection.body()).ok()?.to_owned()
    } else {
        return None;
    };
    let text: String = text.trim().chars().take(LONGEST).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// Returns a general message for a code.
pub(super) fn of_code(code: u8) -> &'static str {
    match code {
        PERMISSION_DENIED => "this client may not use the service",
        RESOURCE_EXHAUSTED => "a limit is used up",
        UNAVAILABLE => "rate limits are temporarily unavailable",
        _ => "the request is rejected",
    }
}

/// Encodes a message for `grpc-message`: visible ASCII and spaces stay, `%` and all other bytes are
/// percent-encoded.
pub(super) fn percent_encoded(message: &str) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(byte),
            _ => {
                let digit = |nibble: u8| DIGITS[usize::from(nibble)];
                encoded.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    // Encoded text is visible ASCII and spaces.
    HeaderValue::from_bytes(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}
