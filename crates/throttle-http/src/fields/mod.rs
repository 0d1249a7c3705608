//! The header fields that show clients their limits.

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

/// The header fields of responses, in three groups.
///
/// | group | fields | source |
/// | --- | --- | --- |
/// | [`draft_10`](Self::draft_10) | `RateLimit`, `RateLimit-Policy` | [draft-ietf-httpapi-ratelimit-headers-10] |
/// | [`legacy`](Self::legacy) | `X-RateLimit-Limit`, `-Remaining`, `-Reset` | no standard; widely read |
/// | [`retry_after`](Self::retry_after) | `Retry-After`, on rejections | [RFC 9110], section 10.2.3 |
///
/// The default is the draft's fields and `Retry-After`. [`all`](Self::all) adds the legacy fields, for clients
/// that read only those.
///
/// The draft's fields list every rule of the request. The other fields report one rule: on a rejection the rule
/// with the longest wait, otherwise the rule with the fewest remaining requests.
///
/// Times are whole seconds, rounded up, so a client that waits as long is allowed. On a rejection they are at
/// least 1, and `t` and `X-RateLimit-Reset` equal `Retry-After`. On an allowed request they show when the whole
/// limit is available again.
///
/// All three are omitted if no wait helps, and for limits of requests in flight, which have the policy parameter
/// `qu="concurrent-requests"`.
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
    /// Selects no field.
    pub fn none() -> Self {
        Self { draft_10: false, legacy: false, retry_after: false, unix_reset: false, secret: None }
    }

    /// Selects all fields.
    pub fn all() -> Self {
        Self { draft_10: true, legacy: true, retry_after: true, ..Self::none() }
    }

    /// Writes `RateLimit` and `RateLimit-Policy`; default: yes.
    ///
    /// `q` in a policy is the highest number of requests at once, and `w` is the time in seconds until that
    /// many are available again. For a bucket they are the burst and the time to refill it. `w` is left out if
    /// it is below one second.
    pub fn draft_10(mut self, write: bool) -> Self {
        self.draft_10 = write;
        self
    }

    /// Adds the partition key `pk` to the draft's fields, so that a client can find out whether two responses
    /// belong to the same limit; default: no.
    ///
    /// The value does not reveal the key: it is the first 16 bytes of the HMAC-SHA-256 ([RFC 2104]) of the key
    /// with this secret. All servers of a service need the same secret, of at least 16 random bytes. A shorter
    /// secret is an error when the middleware is built. `Debug` output does not contain the secret.
    ///
    /// This makes each request slower: the HMAC is computed, and the key is kept until the response is sent.
    ///
    /// [RFC 2104]: https://www.rfc-editor.org/rfc/rfc2104
    pub fn partition_key(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = Some(Secret::new(secret.as_ref()));
        self
    }

    /// Writes `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`; default: no, because each
    /// field adds to the cost of each response.
    pub fn legacy(mut self, write: bool) -> Self {
        self.legacy = write;
        self
    }

    /// Writes `Retry-After` on rejections; default: yes.
    pub fn retry_after(mut self, write: bool) -> Self {
        self.retry_after = write;
        self
    }

    /// Writes `X-RateLimit-Reset` as seconds since the Unix epoch instead of seconds from now; default: no,
    /// because the clocks of server and client can differ.
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

/// The maximum number of combinations of rules that are kept rendered, besides the first.
const MAX_LATER: usize = 64;

/// The renderer of the header fields. The parts that depend on the rules alone are rendered once.
#[derive(Debug)]
pub(crate) struct Fields {
    headers: Headers,
    partitions: Option<Partitions>,
    /// The combination of rules that was rendered first. Most services have only this one, and reading it takes
    /// no reference count.
    first: OnceLock<Rendered>,
    /// Combinations that were rendered later, for example for plans; the newest is the last.
    later: ArcSwap<Vec<Arc<Rendered>>>,
}

/// The values of the header fields of one response.
#[derive(Debug, Default)]
pub(crate) struct Values {
    draft_10: Option<Draft10>,
    legacy: Option<Box<Legacy>>,
}

/// The values as bytes, which become header values of any framework without another copy.
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
    /// Creates the renderer; fails if the secret of the partition key is too short.
    pub(crate) fn new(headers: Headers) -> Result<Self, ShortSecret> {
        let secret = headers.secret.filter(|_| headers.draft_10);
        let partitions = secret.map(|secret| secret.partitions()).transpose()?;
        Ok(Self { headers, partitions, first: OnceLock::new(), later: ArcSwap::default() })
    }

    /// Returns whether the key of a request is needed, for the partition key.
    pub(crate) fn wants_key(&self) -> bool {
        self.partitions.is_some()
    }

    /// Returns the field values of a response. `now` is called only for a reset in Unix time.
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

    /// Returns the field values and the body of a rejection.
    pub(crate) fn rejection(
        &self,
        decisions: &Decisions,
        key: Option<&Key<'_>>,
        now: impl FnOnce() -> Micros,
    ) -> (Values, Bytes) {
        self.with_rendered(decisions, |rendered| {
            (self.values_by(rendered, decisions, key, now), rendered.problem(decisions))
        })
    }

    /// Adds `Retry-After` to a rejection that does not have it yet.
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
        // If two requests store at the same time, one of the entries is lost and rendered again later.
        let kept = later.len().saturating_sub(MAX_LATER - 1);
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
    /// Writes the fields, and keeps those that inner layers have written. If an inner layer rejected the
    /// request, the legacy fields are left out: they describe one limit, and this one is not the limit that
    /// rejected it.
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

/// Marks the response to a request that would have been rejected.
pub(crate) fn write_dry_run(map: &mut impl HeaderSink) {
    map.set(X_DRY_RUN, HeaderValue::from_static("denied"));
}

/// Marks the response to a request that was allowed because the storage failed.
pub(crate) fn write_unlimited(map: &mut impl HeaderSink) {
    map.set(X_DEGRADED, HeaderValue::from_static("unlimited"));
}
