//! The header fields that show clients their limits.

mod degraded;
mod header_sink;
mod parameters;
mod partition;
mod rendered;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ACCESS_CONTROL_EXPOSE_HEADERS, RETRY_AFTER},
};
use throttle_core::{Decisions, Key, Micros};

pub(crate) use self::{
    degraded::Degraded,
    parameters::{AVAILABLE_QUOTA, EFFECTIVE_WINDOW},
};
use self::{
    degraded::X_DEGRADED,
    parameters::{MAX_INTEGER, wait_secs},
    partition::{Partition, Partitions, Secret},
    rendered::Rendered,
};
pub use self::{
    header_sink::{HeaderSink, RateLimitHeader, join_list},
    partition::ShortSecret,
};

/// The non-standard fields for the limit, the remaining requests and the reset.
const LEGACY: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];
/// The corresponding fields of revision 6 of the draft.
const DRAFT_6: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];
const X_DRY_RUN: HeaderName = HeaderName::from_static("x-ratelimit-dry-run");

/// The header fields of responses, in groups.
///
/// | group | fields | source |
/// | --- | --- | --- |
/// | [`rate_limit`](Self::rate_limit) | `RateLimit`, `RateLimit-Policy` | [IETF draft], revision 11 |
/// | [`draft_7`](Self::draft_7) | `RateLimit: limit=100, remaining=50, reset=30` | the draft's revision 7 |
/// | [`draft_6`](Self::draft_6) | `RateLimit-Limit`, `-Remaining`, `-Reset` | the draft's revision 6 |
/// | [`legacy`](Self::legacy) | `X-RateLimit-Limit`, `-Remaining`, `-Reset` | no standard; widely read |
/// | [`retry_after`](Self::retry_after) | `Retry-After`, on rejections | [RFC 9110], section 10.2.3 |
///
/// The default is `rate_limit` and `retry_after`. [`all`](Self::all) adds `legacy`, for clients that read only those
/// fields. The older revisions of the draft are for clients that were written for them.
///
/// The fields of `rate_limit` list every rule of the request. The other fields report one rule: on a rejection the
/// rule with the longest wait, otherwise the rule with the fewest remaining requests.
///
/// Times are whole seconds, rounded up, so a client that waits for this time is allowed. On a rejection they are at
/// least 1, and `t` and each reset equal `Retry-After`. On an allowed request they show when the whole limit is
/// available again.
///
/// They are omitted if waiting does not help, and for a limit of requests in flight, whose policy has
/// `qu="concurrent-requests"`. The fields of `draft_7` and `draft_6` are then omitted entirely, because they need a
/// reset.
///
/// # Examples
///
/// ```
/// # use throttle_http as ratethrottle;
/// use ratethrottle::Headers;
///
/// let all = Headers::all();
/// let modern = Headers::none().rate_limit(true).retry_after(true);
/// let older = Headers::none().draft_7(true).draft_6(true).retry_after(true);
/// let unix = Headers::all().legacy_reset_as_unix_time(true);
/// ```
///
/// [IETF draft]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11
/// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Headers {
    rate_limit: bool,
    draft_7: bool,
    draft_6: bool,
    legacy: bool,
    retry_after: bool,
    unix_reset: bool,
    cors_expose: bool,
    secret: Option<Secret>,
}

impl Headers {
    /// Selects no field.
    pub fn none() -> Self {
        Self {
            rate_limit: false,
            draft_7: false,
            draft_6: false,
            legacy: false,
            retry_after: false,
            unix_reset: false,
            cors_expose: false,
            secret: None,
        }
    }

    /// Selects `RateLimit`, `RateLimit-Policy`, the `X-RateLimit` fields and `Retry-After`.
    pub fn all() -> Self {
        Self { rate_limit: true, legacy: true, retry_after: true, ..Self::none() }
    }

    /// Writes `RateLimit` and `RateLimit-Policy` as revision 11 of the draft defines them. This is enabled by default.
    ///
    /// In a policy, the quota `q` is the highest number of requests at once, and the window `w` is the time in seconds
    /// until that many are available again. For a bucket they are the burst and the time to refill it. `w` is left out
    /// if it is below one second. In `RateLimit`, `r` is the available quota, and `t` the effective window in seconds.
    pub fn rate_limit(mut self, write: bool) -> Self {
        self.rate_limit = write;
        self.draft_7 &= !write;
        self
    }

    /// Writes `RateLimit` as revision 7 of the draft defined it: `limit=100, remaining=50, reset=30`. This is disabled
    /// by default.
    ///
    /// It has the name of the current field, so it replaces [`rate_limit`](Self::rate_limit). The last of the two
    /// options that is set to `true` applies. A `RateLimit` field that the response already has is kept.
    pub fn draft_7(mut self, write: bool) -> Self {
        self.draft_7 = write;
        self.rate_limit &= !write;
        self
    }

    /// Writes `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`, the fields of the draft up to revision 6;
    /// default: no. The reset is in seconds from now.
    pub fn draft_6(mut self, write: bool) -> Self {
        self.draft_6 = write;
        self
    }

    /// Adds the partition key `pk` to the fields of [`rate_limit`](Self::rate_limit), so that a client can find out
    /// whether two responses belong to the same limit. This is disabled by default.
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

    /// Writes `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`. This is disabled by default,
    /// because each field adds to the cost of each response.
    pub fn legacy(mut self, write: bool) -> Self {
        self.legacy = write;
        self
    }

    /// Writes `Retry-After` on rejections. This is enabled by default.
    pub fn retry_after(mut self, write: bool) -> Self {
        self.retry_after = write;
        self
    }

    /// Writes `X-RateLimit-Reset` as seconds since the Unix epoch instead of seconds from now. This is disabled by
    /// default, because the clocks of server and client can differ.
    pub fn legacy_reset_as_unix_time(mut self, unix: bool) -> Self {
        self.unix_reset = unix;
        self
    }

    /// Adds the names of the fields to `Access-Control-Expose-Headers`, also on rejections, so that scripts in browsers
    /// can read them in responses of another origin. This is disabled by default.
    ///
    /// The field has no effect unless a CORS layer allows the origin. Put that layer outside of this one, or browsers
    /// hide rejections. If the CORS layer is configured with exposed headers itself, it replaces this field: list all
    /// names there instead.
    pub fn cors_expose(mut self, expose: bool) -> Self {
        self.cors_expose = expose;
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
    rate_limit: Option<RateLimit>,
    one_rule: Option<Box<OneRule>>,
}

/// The values as bytes, which become header values of any framework without another copy.
#[derive(Debug)]
struct RateLimit {
    policy: Bytes,
    limits: Bytes,
}

/// The values of the fields that report one rule.
#[derive(Debug)]
struct OneRule {
    legacy: Option<ThreeFields>,
    draft_6: Option<ThreeFields>,
    draft_7: Option<HeaderValue>,
}

#[derive(Debug)]
struct ThreeFields {
    limit: HeaderValue,
    remaining: HeaderValue,
    reset: Option<HeaderValue>,
}

impl Fields {
    /// Creates the renderer; fails if the secret of the partition key is too short.
    pub(crate) fn new(headers: Headers) -> Result<Self, ShortSecret> {
        let secret = headers.secret.filter(|_| headers.rate_limit);
        let partitions = secret.map(|secret| secret.partitions()).transpose()?;
        Ok(Self { headers, partitions, first: OnceLock::new(), later: ArcSwap::default() })
    }

    /// Returns whether browsers may show the fields to scripts of other origins.
    #[inline]
    pub(crate) fn cors_expose(&self) -> bool {
        self.headers.cors_expose
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
        if !self.headers.rate_limit && !self.reports_one_rule() {
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
        let rate_limit = self.headers.rate_limit.then(|| {
            let partition = self.partition(key);
            let partition = partition.as_ref().map(Partition::as_bytes);
            let policy = partition.map_or_else(|| rendered.policy(), |it| rendered.policy_of(it));
            RateLimit { policy, limits: rendered.limits(decisions, partition.unwrap_or_default()) }
        });
        let one_rule =
            self.reports_one_rule().then(|| Box::new(self.one_rule(rendered, decisions, now)));
        Values { rate_limit, one_rule }
    }

    /// Returns whether a field is written that reports one rule.
    #[inline]
    fn reports_one_rule(&self) -> bool {
        self.headers.legacy || self.headers.draft_6 || self.headers.draft_7
    }

    fn one_rule(
        &self,
        rendered: &Rendered,
        decisions: &Decisions,
        now: impl FnOnce() -> Micros,
    ) -> OneRule {
        let decision = decisions.most_restrictive();
        let reset = wait_secs(decision, decisions.is_allowed());
        let fields = |reset: Option<u64>| ThreeFields {
            limit: rendered.limit(decisions),
            remaining: rendered::number(decision.remaining()),
            reset: reset.map(rendered::number),
        };
        let legacy =
            self.headers.legacy.then(|| {
                let from = if self.headers.unix_reset { now() } else { Micros::ZERO };
                fields(reset.map(|secs| {
                    from.plus(Micros::new(secs.saturating_mul(1_000_000))).as_secs_ceil()
                }))
            });
        let reset = reset.map(|secs| secs.min(MAX_INTEGER));
        let draft_6 = reset.filter(|_| self.headers.draft_6).map(|reset| fields(Some(reset)));
        let draft_7 = reset.filter(|_| self.headers.draft_7).and_then(|reset| {
            let (limit, remaining) = (decision.limit(), decision.remaining());
            let text = format!("limit={limit}, remaining={remaining}, reset={reset}");
            HeaderValue::try_from(text).ok()
        });
        OneRule { legacy, draft_6, draft_7 }
    }

    #[inline]
    fn partition(&self, key: Option<&Key<'_>>) -> Option<Partition> {
        Some(self.partitions.as_ref()?.of(key?))
    }
}

impl Values {
    /// Writes the fields, and keeps those that inner layers have written. If an inner layer rejected the
    /// request, the fields that report one rule are left out: this rule is not the one that rejected it.
    #[inline]
    pub(crate) fn write_around(mut self, status: StatusCode, map: &mut impl HeaderSink) {
        if self.one_rule.is_some() && status == StatusCode::TOO_MANY_REQUESTS {
            self.one_rule = None;
        }
        self.write(map);
    }

    /// Writes the fields.
    #[inline]
    pub(crate) fn write(self, map: &mut impl HeaderSink) {
        if let Some(RateLimit { policy, limits }) = self.rate_limit {
            map.extend_list(RateLimitHeader::RateLimitPolicy, policy);
            map.extend_list(RateLimitHeader::RateLimit, limits);
        }
        if let Some(one_rule) = self.one_rule {
            one_rule.write(map);
        }
    }
}

impl OneRule {
    fn write(self, map: &mut impl HeaderSink) {
        for (fields, names) in [(self.legacy, LEGACY), (self.draft_6, DRAFT_6)] {
            if let Some(fields) = fields {
                fields.write(names, map);
            }
        }
        let name = RateLimitHeader::RateLimit.name();
        if let Some(value) = self.draft_7
            && !map.has(&name)
        {
            map.set(name, value);
        }
    }
}

impl ThreeFields {
    fn write(self, [limit, remaining, reset]: [HeaderName; 3], map: &mut impl HeaderSink) {
        if map.has(&limit) {
            return;
        }
        map.set(limit, self.limit);
        map.set(remaining, self.remaining);
        if let Some(value) = self.reset {
            map.set(reset, value);
        }
    }
}

/// Marks the response to a request that would have been rejected.
pub(crate) fn write_dry_run(map: &mut impl HeaderSink) {
    map.set(X_DRY_RUN, HeaderValue::from_static("denied"));
}

/// Adds the fields of the limits that the response has to `Access-Control-Expose-Headers`.
///
/// The origin of the request does not matter. Without the other CORS fields, which an outer layer adds later, browsers
/// ignore this one.
#[cold]
pub(crate) fn expose(map: &mut impl HeaderSink) {
    let draft = [RateLimitHeader::RateLimit, RateLimitHeader::RateLimitPolicy];
    let names = draft.map(RateLimitHeader::name).into_iter().chain(DRAFT_6).chain(LEGACY);
    let names = names.chain([X_DEGRADED, X_DRY_RUN, RETRY_AFTER]);
    let present: Vec<_> = names.filter(|name| map.has(name)).collect();
    let present: Vec<_> = present.iter().map(HeaderName::as_str).collect();
    if !present.is_empty()
        && let Ok(value) = HeaderValue::try_from(present.join(", "))
    {
        map.append(ACCESS_CONTROL_EXPOSE_HEADERS, value);
    }
}
