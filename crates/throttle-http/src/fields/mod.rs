//! The header fields that tell clients about their limits.

mod rendered;
#[cfg(test)]
mod tests;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use throttle_core::{Decision, Decisions, Micros};

use self::rendered::Rendered;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const X_DRY_RUN: HeaderName = HeaderName::from_static("x-ratelimit-dry-run");

/// Picks the header fields of responses.
///
/// | group | fields | source |
/// | --- | --- | --- |
/// | [`draft_10`](Self::draft_10) | `RateLimit`, `RateLimit-Policy` | [draft-ietf-httpapi-ratelimit-headers-10] |
/// | [`legacy`](Self::legacy) | `X-RateLimit-Limit`, `-Remaining`, `-Reset` | no standard; widely read |
/// | [`retry_after`](Self::retry_after) | `Retry-After`, on refusals | [RFC 9110], section 10.2.3 |
///
/// The draft's and `Retry-After` are written by default; [`all`](Self::all) adds the legacy ones, for
/// clients that read only those. The draft's fields list every rule of the request; the others tell of
/// one: of a refusal the rule with the longest wait, otherwise the one with the
/// least remaining.
///
/// Times are whole seconds, rounded up, so that a client that obeys them passes; a refusal never says
/// 0. On a refusal `t` and `X-RateLimit-Reset` equal `Retry-After`; otherwise they say when all of the
/// limit is free again. Where no wait helps, all three are left out.
///
/// # Examples
///
/// ```
/// use throttle_http::Headers;
///
/// let all = Headers::all();
/// let modern = Headers::none().draft_10(true).retry_after(true);
/// let unix = Headers::all().legacy_reset_as_unix_time(true);
/// ```
///
/// [draft-ietf-httpapi-ratelimit-headers-10]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Headers {
    draft_10: bool,
    legacy: bool,
    retry_after: bool,
    unix_reset: bool,
}

impl Headers {
    /// Writes no field.
    pub fn none() -> Self {
        Self { draft_10: false, legacy: false, retry_after: false, unix_reset: false }
    }

    /// Writes every field there is.
    pub fn all() -> Self {
        Self { draft_10: true, legacy: true, retry_after: true, unix_reset: false }
    }

    /// Writes `RateLimit` and `RateLimit-Policy`; default yes.
    ///
    /// A policy's `q` is the most that can be spent at once, and `w` the time in which that comes
    /// back: for a bucket the burst, and the time it takes to refill. `w` is left out where that is
    /// under a second.
    pub fn draft_10(mut self, write: bool) -> Self {
        self.draft_10 = write;
        self
    }

    /// Writes `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`; default no: what
    /// is written on every response is paid for on every response.
    pub fn legacy(mut self, write: bool) -> Self {
        self.legacy = write;
        self
    }

    /// Writes `Retry-After` on refusals; default yes.
    pub fn retry_after(mut self, write: bool) -> Self {
        self.retry_after = write;
        self
    }

    /// Writes `X-RateLimit-Reset` as seconds since the Unix epoch, not as seconds from now; default
    /// no, because clocks differ.
    pub fn legacy_reset_as_unix_time(mut self, unix: bool) -> Self {
        self.unix_reset = unix;
        self
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::all().legacy(false)
    }
}

/// Writes fields; what does not change per rule is rendered once.
#[derive(Debug)]
pub(crate) struct Fields {
    headers: Headers,
    rendered: ArcSwapOption<Rendered>,
}

impl Fields {
    pub(crate) fn new(headers: Headers) -> Self {
        Self { headers, rendered: ArcSwapOption::empty() }
    }

    /// Writes the fields of a response; layers within this one may have written theirs before.
    ///
    /// `now` is read where Unix time is told.
    pub(crate) fn write(
        &self,
        decisions: &Decisions,
        now: impl FnOnce() -> Micros,
        map: &mut HeaderMap,
    ) {
        if self.headers.draft_10 || self.headers.legacy {
            self.with_rendered(decisions, |rendered| {
                self.write_rendered(rendered, decisions, now, map);
            });
        }
    }

    /// Writes when to come back, on a refusal that does not say it already.
    pub(crate) fn write_retry_after(&self, decisions: &Decisions, map: &mut HeaderMap) {
        if self.headers.retry_after
            && !map.contains_key(RETRY_AFTER)
            && let Some(secs) = wait_secs(decisions.reported(), false)
        {
            map.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
    }

    /// Returns the body of the refusal.
    pub(crate) fn problem(&self, decisions: &Decisions) -> bytes::Bytes {
        self.with_rendered(decisions, |rendered| rendered.problem(decisions))
    }

    fn with_rendered<T>(&self, decisions: &Decisions, work: impl FnOnce(&Rendered) -> T) -> T {
        let rendered = self.rendered.load();
        if let Some(rendered) = &*rendered
            && rendered.is_of(decisions)
        {
            return work(rendered);
        }
        let new = std::sync::Arc::new(Rendered::new(decisions));
        self.rendered.store(Some(new.clone()));
        work(&new)
    }

    fn write_rendered(
        &self,
        rendered: &Rendered,
        decisions: &Decisions,
        now: impl FnOnce() -> Micros,
        map: &mut HeaderMap,
    ) {
        let reported = decisions.reported();
        if self.headers.draft_10 {
            map.append(RATE_LIMIT_POLICY, rendered.policy());
            map.append(RATE_LIMIT, rendered.limits(decisions));
        }
        if self.headers.legacy && !map.contains_key(&X_LIMIT) {
            map.insert(X_LIMIT, rendered.limit(decisions));
            map.insert(X_REMAINING, HeaderValue::from(reported.remaining()));
            if let Some(secs) = wait_secs(reported, decisions.is_allowed()) {
                let from = if self.headers.unix_reset { now() } else { Micros::ZERO };
                let reset = from.plus(Micros::new(secs.saturating_mul(1_000_000)));
                map.insert(X_RESET, HeaderValue::from(reset.as_secs_ceil()));
            }
        }
    }
}

/// Marks the response to a request that would have been refused.
pub(crate) fn write_dry_run(map: &mut HeaderMap) {
    map.insert(X_DRY_RUN, HeaderValue::from_static("denied"));
}

/// Returns how many seconds a client is told to wait: never 0 by a rule that refuses, and none where
/// no wait helps.
fn wait_secs(decision: &Decision, request_allowed: bool) -> Option<u64> {
    let secs = |span| Micros::from(span).as_secs_ceil();
    if request_allowed || decision.is_allowed() {
        return Some(secs(decision.reset_after()));
    }
    decision.retry_after().map(|wait| secs(wait).max(1))
}
