//! The header fields that tell clients about their limits.

mod header_sink;
mod partition;
mod rendered;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use throttle_core::{Decisions, Key, Micros};

pub use self::{
    header_sink::{HeaderSink, RateLimitHeader, join_list},
    partition::ShortSecret,
};
use self::{
    partition::{Partition, Partitions, Secret},
    rendered::{Rendered, wait_secs},
};

const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const X_DEGRADED: HeaderName = HeaderName::from_static("x-ratelimit-degraded");
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
/// limit is free again. Where no wait helps, all three are left out; so they are of a limit of requests
/// under way, whose policy has `qu="concurrent-requests"`.
///
/// # Examples
///
/// ```
/// # use throttle_http as ratethrottle;
/// use ratethrottle::Headers;
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
    secret: Option<Secret>,
}

impl Headers {
    /// Writes no field.
    pub fn none() -> Self {
        Self { draft_10: false, legacy: false, retry_after: false, unix_reset: false, secret: None }
    }

    /// Writes every field there is.
    pub fn all() -> Self {
        Self { draft_10: true, legacy: true, retry_after: true, ..Self::none() }
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

    /// Writes the partition key `pk` into the draft's fields, so that clients can tell whether two
    /// responses are about one limit; default no.
    ///
    /// It is never the key itself, but the first 16 bytes of its HMAC-SHA-256 ([RFC 2104]) by a secret
    /// of at least 16 random bytes, which all servers of a service share: without the secret nobody
    /// learns from it who is limited. The secret is not shown by `Debug`. A shorter one is an error
    /// when the middleware is built.
    ///
    /// Requests are slower by it: the code is made for each, and its key is kept until it is answered.
    ///
    /// [RFC 2104]: https://www.rfc-editor.org/rfc/rfc2104
    pub fn partition_key(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = Some(Secret::new(secret.as_ref()));
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

/// How many combinations of rules are kept rendered besides the first.
const MOST_LATER: usize = 64;

/// Makes fields; what does not change per rule is rendered once.
#[derive(Debug)]
pub(crate) struct Fields {
    headers: Headers,
    partitions: Option<Partitions>,
    /// Of the rules that came first: most services never change theirs, and then nothing is counted
    /// to read it.
    first: OnceLock<Rendered>,
    /// Of those that came later, as where requests have plans; the newest last.
    later: ArcSwap<Vec<Arc<Rendered>>>,
}

/// Holds the values of the fields of one response.
#[derive(Debug, Default)]
pub(crate) struct Values {
    draft_10: Option<Draft10>,
    legacy: Option<Box<Legacy>>,
}

/// Holds bytes, which are a value in the types of any framework without being copied again.
#[derive(Debug)]
struct Draft10 {
    policy: Bytes,
    limits: Bytes,
}

#[derive(Debug)]
struct Legacy {
    limit: HeaderValue,
    remaining: HeaderValue,
    reset: Option<HeaderValue>,
}

impl Fields {
    /// Fails where the secret of the partition key is too short.
    pub(crate) fn new(headers: Headers) -> Result<Self, ShortSecret> {
        let secret = headers.secret.filter(|_| headers.draft_10);
        let partitions = secret.map(|secret| secret.partitions()).transpose()?;
        Ok(Self { headers, partitions, first: OnceLock::new(), later: ArcSwap::default() })
    }

    /// Returns whether the key of a request is told, if in code.
    pub(crate) fn wants_key(&self) -> bool {
        self.partitions.is_some()
    }

    /// Returns the values of the fields of a response; `now` is read where Unix time is told.
    #[inline]
    pub(crate) fn values(
        &self,
        decisions: &Decisions,
        key: Option<&Key<'_>>,
        now: impl FnOnce() -> Micros,
    ) -> Values {
        if !self.headers.draft_10 && !self.headers.legacy {
            return Values::default();
        }
        self.with_rendered(decisions, |rendered| self.values_by(rendered, decisions, key, now))
    }

    /// Returns the values of the fields of a refusal, and its body.
    pub(crate) fn refusal(
        &self,
        decisions: &Decisions,
        key: Option<&Key<'_>>,
        now: impl FnOnce() -> Micros,
    ) -> (Values, Bytes) {
        self.with_rendered(decisions, |rendered| {
            (self.values_by(rendered, decisions, key, now), rendered.problem(decisions))
        })
    }

    /// Writes when to come back, on a refusal that does not say it already.
    pub(crate) fn write_retry_after(&self, decisions: &Decisions, map: &mut HeaderMap) {
        if self.headers.retry_after
            && !map.contains_key(RETRY_AFTER)
            && let Some(secs) = wait_secs(decisions.most_restrictive(), false)
        {
            map.insert(RETRY_AFTER, rendered::number(secs));
        }
    }

    #[inline]
    fn with_rendered<T>(&self, decisions: &Decisions, work: impl FnOnce(&Rendered) -> T) -> T {
        let first = self.first.get_or_init(|| Rendered::new(decisions));
        if first.is_of(decisions) {
            return work(first);
        }
        let later = self.later.load();
        if let Some(found) = later.iter().find(|one| one.is_of(decisions)) {
            return work(found);
        }
        let new = Arc::new(Rendered::new(decisions));
        // One that is lost to a request at the same time is made again.
        let kept = later.len().saturating_sub(MOST_LATER - 1);
        let newest = later.iter().skip(kept).chain([&new]).cloned().collect();
        self.later.store(Arc::new(newest));
        work(&new)
    }

    #[inline]
    fn values_by(
        &self,
        rendered: &Rendered,
        decisions: &Decisions,
        key: Option<&Key<'_>>,
        now: impl FnOnce() -> Micros,
    ) -> Values {
        let draft_10 = self.headers.draft_10.then(|| {
            let partition = self.partition(key);
            let partition = partition.as_ref().map(Partition::as_bytes);
            let policy = partition.map_or_else(|| rendered.policy(), |it| rendered.policy_of(it));
            Draft10 { policy, limits: rendered.limits(decisions, partition.unwrap_or_default()) }
        });
        let legacy = self.headers.legacy.then(|| {
            let most_restrictive = decisions.most_restrictive();
            let reset = wait_secs(most_restrictive, decisions.is_allowed()).map(|secs| {
                let from = if self.headers.unix_reset { now() } else { Micros::ZERO };
                let reset = from.plus(Micros::new(secs.saturating_mul(1_000_000)));
                rendered::number(reset.as_secs_ceil())
            });
            let remaining = rendered::number(most_restrictive.remaining());
            Box::new(Legacy { limit: rendered.limit(decisions), remaining, reset })
        });
        Values { draft_10, legacy }
    }
}

impl Fields {
    #[inline]
    fn partition(&self, key: Option<&Key<'_>>) -> Option<Partition> {
        Some(self.partitions.as_ref()?.of(key?))
    }
}

impl Values {
    /// Writes the fields around what layers within this one have written. Of a refusal by one of them the older
    /// fields would say something else: they know of one limit only.
    #[inline]
    pub(crate) fn write_around(mut self, status: StatusCode, map: &mut impl HeaderSink) {
        if self.legacy.is_some() && status == StatusCode::TOO_MANY_REQUESTS {
            self.legacy = None;
        }
        self.write(map);
    }

    /// Writes the fields.
    #[inline]
    pub(crate) fn write(self, map: &mut impl HeaderSink) {
        if let Some(Draft10 { policy, limits }) = self.draft_10 {
            map.extend_list(RateLimitHeader::RateLimitPolicy, policy);
            map.extend_list(RateLimitHeader::RateLimit, limits);
        }
        if let Some(legacy) = self.legacy
            && !map.has(&X_LIMIT)
        {
            map.set(X_LIMIT, legacy.limit);
            map.set(X_REMAINING, legacy.remaining);
            if let Some(reset) = legacy.reset {
                map.set(X_RESET, reset);
            }
        }
    }
}

/// Marks the response to a request that would have been refused.
pub(crate) fn write_dry_run(map: &mut impl HeaderSink) {
    map.set(X_DRY_RUN, HeaderValue::from_static("denied"));
}

/// Marks the response to a request that passed because its limit could not be decided.
pub(crate) fn write_unlimited(map: &mut impl HeaderSink) {
    map.set(X_DEGRADED, HeaderValue::from_static("unlimited"));
}
