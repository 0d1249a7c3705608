//! What a client gets: status, the fields that a limit writes, and the body.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Response};
use throttle_core::Micros;

use crate::http::handler::BODY;

/// The fields that are compared, in the order in which an answer lists them.
const FIELDS: [&str; 12] = [
    "cache-control",
    "content-type",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-ratelimit-dry-run",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

/// What is compared of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The status.
    pub status: u16,
    /// `Content-Type`, `Cache-Control`, `Retry-After`, the status of gRPC and every field of rate limits, one entry for
    /// each line.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Takes what is compared from a response.
    pub(super) fn of(response: &Response<Bytes>) -> Self {
        let lines = |name| lines(response.headers(), name).map(move |line| (name, line));
        Self {
            status: response.status().as_u16(),
            fields: FIELDS.into_iter().flat_map(lines).collect(),
            body: response.body().clone(),
        }
    }

    /// Writes a reset in Unix time as the seconds from `start`, to ten seconds: the machine's clock goes
    /// on while the case runs.
    pub(super) fn count_from(&mut self, start: Micros) {
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

    /// Adds what marks a request that would have been refused.
    pub(super) fn dry_run(self) -> Self {
        self.field("x-ratelimit-dry-run", "denied")
    }

    /// Adds what keeps a rejection out of caches.
    pub(super) fn not_stored(self) -> Self {
        self.stored_as("no-store")
    }

    /// Adds `Cache-Control`.
    pub(super) fn stored_as(self, how: &str) -> Self {
        self.field("cache-control", how)
    }

    /// Adds the status of gRPC.
    pub(super) fn status(self, code: u8) -> Self {
        self.field("grpc-status", code)
    }

    /// Adds details of a gRPC status.
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
    /// Writes the answer as it would stand on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.fields {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}\n", self.body.escape_ascii())
    }
}

/// Expects that the handler answered.
pub(super) fn passed() -> Answer {
    Answer::new(200, "text/plain; charset=utf-8", BODY)
}

/// Expects a refusal by these rules.
pub(super) fn refused(rules: &[&str]) -> Answer {
    let rules = serde_json::to_string(rules).unwrap();
    let body = format!(
        "{{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\",\
         \"title\":\"Request cannot be satisfied as assigned quota has been exceeded\",\
         \"status\":429,\"violated-policies\":{rules}}}"
    );
    Answer::new(429, "application/problem+json", body).not_stored()
}

/// Expects another problem.
pub(super) fn problem(status: u16, title: &str, detail: &str) -> Answer {
    let body = format!(
        "{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{status},\
         \"detail\":\"{detail}\"}}"
    );
    Answer::new(status, "application/problem+json", body).not_stored()
}

/// Expects the refusal of a client that is on the deny list for good.
pub(super) fn banned() -> Answer {
    problem(403, "Forbidden", "This client may not use the service.")
}

/// Expects a refusal that a gRPC client reads.
pub(super) fn grpc(content_type: &'static str, code: u8, message: &str) -> Answer {
    let answer = Answer::new(200, content_type, Bytes::new());
    answer.status(code).field("grpc-message", message)
}

fn lines(map: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    let values: Vec<_> = map.get_all(name).iter().collect();
    values.into_iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
