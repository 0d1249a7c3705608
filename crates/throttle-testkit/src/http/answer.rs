//! Expected responses: the status, the header fields of rate limits, and the body.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Response};
use throttle_core::Micros;

use crate::http::handler::BODY;

/// The header fields that are compared, in the order of [`Answer::fields`].
const FIELDS: [&str; 17] = [
    "access-control-expose-headers",
    "cache-control",
    "content-type",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "x-ratelimit-degraded",
    "x-ratelimit-dry-run",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

/// The parts of a response that are compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The status.
    pub status: u16,
    /// The lines of `Content-Type`, `Cache-Control`, `Retry-After`, the gRPC status and all rate limit fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Extracts the compared parts of a response.
    pub(super) fn of(response: &Response<Bytes>) -> Self {
        let lines = |name| lines(response.headers(), name).map(move |line| (name, line));
        Self {
            status: response.status().as_u16(),
            fields: FIELDS.into_iter().flat_map(lines).collect(),
            body: response.body().clone(),
        }
    }

    /// Rewrites a reset in Unix time as the seconds after `start`, rounded down to ten seconds, because the
    /// real clock advances during the case.
    pub(super) fn normalize_reset(&mut self, start: Micros) {
        for (_, value) in self.fields.iter_mut().filter(|(name, _)| *name == "x-ratelimit-reset") {
            let moment: u64 = value.parse().unwrap();
            let ahead = moment.saturating_sub(start.get() / 1_000_000);
            *value = format!("start + {}", ahead / 10 * 10);
        }
    }

    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let fields = vec![("content-type", content_type.to_owned())];
        Self { status, fields, body: body.into() }
    }

    /// Adds `RateLimit-Policy` and `RateLimit`.
    pub(super) fn draft(self, policy: &str, limits: &str) -> Self {
        self.field("ratelimit-policy", policy).field("ratelimit", limits)
    }

    /// Adds `RateLimit` of revision 7 of the draft.
    pub(super) fn draft_7(self, value: &str) -> Self {
        self.field("ratelimit", value)
    }

    /// Adds `RateLimit-Limit`, `-Remaining` and `-Reset` of revision 6 of the draft.
    pub(super) fn draft_6(self, limit: u64, remaining: u64, reset: u64) -> Self {
        self.field("ratelimit-limit", limit)
            .field("ratelimit-remaining", remaining)
            .field("ratelimit-reset", reset)
    }

    /// Adds `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    pub(super) fn legacy(self, limit: u64, remaining: u64, reset: impl ToString) -> Self {
        self.legacy_without_reset(limit, remaining).field("x-ratelimit-reset", reset)
    }

    /// Adds `X-RateLimit-Limit` and `-Remaining`.
    pub(super) fn legacy_without_reset(self, limit: u64, remaining: u64) -> Self {
        self.field("x-ratelimit-limit", limit).field("x-ratelimit-remaining", remaining)
    }

    /// Adds `Retry-After`.
    pub(super) fn retry_after(self, secs: u64) -> Self {
        self.field("retry-after", secs)
    }

    /// Adds the fields that scripts of other origins can read.
    pub(super) fn exposed(self, names: &str) -> Self {
        self.field("access-control-expose-headers", names)
    }

    /// Adds the mark of a request that a dry run would have rejected.
    pub(super) fn dry_run(self) -> Self {
        self.field("x-ratelimit-dry-run", "denied")
    }

    /// Adds the field that keeps a rejection out of caches.
    pub(super) fn not_stored(self) -> Self {
        self.stored_as("no-store")
    }

    /// Adds `Cache-Control`.
    pub(super) fn stored_as(self, how: &str) -> Self {
        self.field("cache-control", how)
    }

    /// Adds a gRPC status.
    pub(super) fn status(self, code: u8) -> Self {
        self.field("grpc-status", code)
    }

    /// Adds the details of a gRPC status.
    pub(super) fn details(self, details: &str) -> Self {
        self.field("grpc-status-details-bin", details)
    }

    fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self.fields.sort_by_key(|(name, _)| *name);
        self
    }
}

impl fmt::Display for Answer {
    /// Writes the response in the form of HTTP/1.1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.fields {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}\n", self.body.escape_ascii())
    }
}

/// Returns the response of the handler.
pub(super) fn allowed() -> Answer {
    Answer::new(200, "text/plain; charset=utf-8", BODY)
}

/// Returns a rejection by these rules.
pub(super) fn rejected(rules: &[&str]) -> Answer {
    let rules = serde_json::to_string(rules).unwrap();
    let body = format!(
        "{{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\
         \"title\":\"Request cannot be satisfied as assigned quota has been exceeded\",\
         \"status\":429,\"violated-policies\":{rules}}}"
    );
    Answer::new(429, "application/problem+json", body).not_stored()
}

/// Returns a rejection with other problem details.
pub(super) fn problem(status: u16, title: &str, detail: &str) -> Answer {
    let body = format!(
        "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{status},\
         \"detail\":\"{detail}\"}}"
    );
    Answer::new(status, "application/problem+json", body).not_stored()
}

/// Returns the rejection of a client that is permanently on the deny list.
pub(super) fn on_deny_list() -> Answer {
    problem(403, "Forbidden", "This client may not use the service.")
}

/// Returns a rejection in the form of gRPC.
pub(super) fn grpc(content_type: &'static str, code: u8, message: &str) -> Answer {
    let answer = Answer::new(200, content_type, Bytes::new());
    answer.status(code).field("grpc-message", message)
}

fn lines(map: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    let values: Vec<_> = map.get_all(name).iter().collect();
    values.into_iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
