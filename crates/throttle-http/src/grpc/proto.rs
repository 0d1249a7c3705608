//! The details of a status in the wire format of protocol buffers: a [google.rpc.Status] with a `RetryInfo` and
//! a `QuotaFailure`.
//!
//! They are only seven fields of four messages, so they are written here instead of with a library.
//!
//! [google.rpc.Status]: https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use http::HeaderValue;
use throttle_core::{Decision, Decisions};

/// The maximum number of violations that are listed: clients commonly accept 8 KiB of header fields.
const MAX_VIOLATIONS: usize = 8;
/// The longest `google.protobuf.Duration`.
const MAX_SECONDS: u64 = 315_576_000_000;

pub(super) struct Details<'a> {
    pub(super) code: u8,
    pub(super) message: &'a str,
    pub(super) retry_after: Option<Duration>,
    pub(super) violated: Option<&'a Decisions>,
}

impl Details<'_> {
    /// Returns the value of `grpc-status-details-bin`, or `None` if it would add nothing to the other fields.
    pub(super) fn encode(&self) -> Option<HeaderValue> {
        if self.retry_after.is_none() && self.violated.is_none() {
            return None;
        }
        let mut status = Vec::new();
        put_number(&mut status, 1, u64::from(self.code));
        put_bytes(&mut status, 2, self.message.as_bytes());
        if let Some(wait) = self.retry_after {
            put_any(&mut status, "RetryInfo", &retry_info(wait));
        }
        if let Some(failure) = self.violated.map(quota_failure).filter(|it| !it.is_empty()) {
            put_any(&mut status, "QuotaFailure", &failure);
        }
        // gRPC requires base64 without padding.
        HeaderValue::try_from(STANDARD_NO_PAD.encode(status)).ok()
    }
}

fn retry_info(wait: Duration) -> Vec<u8> {
    let (mut duration, mut info) = (Vec::new(), Vec::new());
    put_number(&mut duration, 1, wait.as_secs().min(MAX_SECONDS));
    put_number(&mut duration, 2, u64::from(wait.subsec_nanos()));
    put_bytes(&mut info, 1, &duration);
    info
}

fn quota_failure(decisions: &Decisions) -> Vec<u8> {
    let mut failure = Vec::new();
    let by_rule = |decision: &&Decision| !decision.is_allowed() && decision.listed().is_none();
    let denied = decisions.all().iter().filter(by_rule);
    for decision in denied.take(MAX_VIOLATIONS) {
        put_bytes(&mut failure, 1, &violation(decision));
    }
    failure
}

/// Encodes a violation with the name of the rule, which is public, and without the key, which is not.
fn violation(decision: &Decision) -> Vec<u8> {
    let mut violation = Vec::new();
    let rule = decision.checked_rule();
    let (name, limit, window) = (rule.name(), rule.limit(), Duration::from(rule.window()));
    let description = match decision.is_concurrency() {
        true => format!("the limit {name:?} allows {limit} at once"),
        false => format!("the limit {name:?} allows {limit} in {window:?}"),
    };
    put_bytes(&mut violation, 2, description.as_bytes());
    put_bytes(&mut violation, 5, name.as_bytes());
    put_number(&mut violation, 7, limit); // at most MAX_LIMIT, far below the sign
    violation
}

fn put_any(to: &mut Vec<u8>, name: &str, message: &[u8]) {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, format!("type.googleapis.com/google.rpc.{name}").as_bytes());
    put_bytes(&mut any, 2, message);
    put_bytes(to, 3, &any);
}

/// Puts a number field; skips 0, which is the default.
fn put_number(to: &mut Vec<u8>, field: u8, number: u64) {
    if number != 0 {
        to.push(field << 3);
        put_varint(to, number);
    }
}

/// Puts a field of text, bytes or a message.
fn put_bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    to.push(field << 3 | 2);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
