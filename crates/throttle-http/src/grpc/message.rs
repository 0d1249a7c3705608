//! What a gRPC status says in words.

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use serde::Deserialize;
use throttle_core::Decisions;

use super::{PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE};

/// How many characters of a message of the service's own are told: header fields have no room for more.
const LONGEST: usize = 512;

/// Says which limit denies, and how long it does.
pub(super) fn of_denial(decisions: &Decisions) -> String {
    let most_restrictive = decisions.most_restrictive();
    let rule = most_restrictive.rule();
    match most_restrictive.retry_after() {
        Some(wait) if most_restrictive.listed().is_some() => {
            format!("this client may not use the service for another {wait:?}")
        }
        Some(wait) => format!("the limit {rule:?} is used up; retry in {wait:?}"),
        None if most_restrictive.is_concurrency() => {
            format!("as many calls as {rule:?} allows are under way; retry when one has ended")
        }
        None => format!("the limit {rule:?} does not allow it; no wait helps"),
    }
}

/// Returns what the body of a refusal says, if that is text or a JSON document with a detail or title.
pub(super) fn of_body(refusal: &Response<Bytes>) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
        title: Option<String>,
    }
    let media_type =
        refusal.headers().get(CONTENT_TYPE).map_or(&b"text/plain"[..], |v| v.as_bytes());
    let media_type = media_type.split(|&byte| byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii().to_ascii_lowercase();
    let text = if media_type.ends_with(b"json") {
        let problem: Problem = serde_json::from_slice(refusal.body()).ok()?;
        problem.detail.or(problem.title)?
    } else if media_type == b"text/plain" {
        std::str::from_utf8(refusal.body()).ok()?.to_owned()
    } else {
        return None;
    };
    let text: String = text.trim().chars().take(LONGEST).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// Says no more than a code does.
pub(super) fn of_code(code: u8) -> &'static str {
    match code {
        PERMISSION_DENIED => "this client may not use the service",
        RESOURCE_EXHAUSTED => "a limit is used up",
        UNAVAILABLE => "limits cannot be decided for the time being",
        _ => "the request is refused",
    }
}

/// Returns a message as the value of `grpc-message`: visible ASCII and spaces, and all else and `%` as
/// `%` and two digits.
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
    // All of it is visible ASCII and spaces.
    HeaderValue::from_bytes(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}
