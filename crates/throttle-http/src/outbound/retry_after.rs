//! The pause that a server requests.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header::DATE, header::RETRY_AFTER};
use throttle_core::Micros;

use crate::fields::{AVAILABLE_QUOTA, EFFECTIVE_WINDOW};

/// Returns the pause that the server requests, if any: the longest of
///
/// - `Retry-After` ([RFC 9110], section 10.2.3) of a response that rejects the call because of rate or load, and
/// - the policies of `RateLimit` ([IETF draft]) without available quota.
///
/// The pause is not bounded. `now` is used for a date, if the response has no `Date`.
///
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
/// [IETF draft]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11
pub(super) fn requested_pause(
    status: StatusCode,
    headers: &HeaderMap,
    now: Micros,
) -> Option<Duration> {
    let by_retry_after =
        if is_overload(status, headers) { retry_after(headers, now) } else { None };
    let by_policy = headers.get_all("ratelimit").iter().filter_map(exhausted_for).max();
    by_retry_after.max(by_policy)
}

/// Returns whether the server rejects the call because of its rate or the load. gRPC uses its own status:
/// RESOURCE_EXHAUSTED or UNAVAILABLE.
fn is_overload(status: StatusCode, headers: &HeaderMap) -> bool {
    let grpc_status = || headers.get("grpc-status").map(HeaderValue::as_bytes);
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
        || matches!(grpc_status(), Some(b"8" | b"14"))
}

fn retry_after(headers: &HeaderMap, now: Micros) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = whole(value) {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    // Both dates are from the clock of the server, which may differ from ours.
    let date =
        headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let from: SystemTime = date.unwrap_or_else(|| now.to_system_time());
    Some(until.duration_since(from).unwrap_or_default())
}

/// Returns the time until all policies with `r=0` allow requests again.
fn exhausted_for(value: &HeaderValue) -> Option<Duration> {
    split(value.as_bytes(), b',').filter_map(item_exhausted_for).max()
}

fn item_exhausted_for(item: &[u8]) -> Option<Duration> {
    let (mut available, mut window) = (None, None);
    for parameter in split(item, b';').skip(1) {
        let text = std::str::from_utf8(parameter).ok()?;
        let text = text.trim();
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name == AVAILABLE_QUOTA.name() {
            available = whole(value);
        } else if name == EFFECTIVE_WINDOW.name() {
            window = whole(value);
        }
    }
    match available {
        Some(0) => window.map(Duration::from_secs),
        _ => None,
    }
}

/// Parses a whole number; a number that is too large becomes the largest.
fn whole(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Splits a structured field (RFC 9651) at separators outside of strings.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |&byte| {
        let outside = !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        outside && byte == separator
    })
}

#[cfg(test)]
mod tests;
