//! The checked form of a rule, which the algorithms use.

use std::{num::NonZeroU64, time::Duration};

use super::{
    algorithm::Algorithm,
    definition::{MIN_WINDOW, Rule},
    error::{InvalidRule, quoted},
};
use crate::{exact::mul_div, time::Micros};

/// The highest limit, burst and cost: the largest integer of a structured field ([RFC 9651]).
///
/// [RFC 9651]: https://www.rfc-editor.org/rfc/rfc9651#section-3.3.1
pub const MAX_LIMIT: u64 = 999_999_999_999_999;
/// The highest limit of the sliding window log, which stores an entry for each request.
pub const MAX_LOG_LIMIT: u64 = 1_000_000;
/// The longest window: ten years of 365 days.
pub const MAX_WINDOW: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A bound above every window, block and wait: more than 31 years.
pub(crate) const MAX_SPAN: Micros = Micros::new(1_000_000_000_000_000);
/// The longest name, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// A rule whose values are in range, so the product of any two fits in 128 bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedRule {
    name: String,
    limit: u64,
    window: Micros,
    algorithm: Algorithm,
    capacity: u64,
    block: Option<Micros>,
    cost: u64,
    name_hash: u64,
    max_delay: Option<Micros>,
    /// `capacity · window`, or 0 if it does not fit in 62 bits.
    scaled_capacity: u64,
}

impl Rule {
    /// Checks that all values are in range, and returns the checked form.
    ///
    /// The limit and the burst must be from 1 to [`MAX_LIMIT`], or to [`MAX_LOG_LIMIT`] for the sliding window log. The
    /// window and the block must be from [`MIN_WINDOW`] to [`MAX_WINDOW`], and a full bucket must drain within
    /// [`MAX_WINDOW`]. The cost is at most the burst of a bucket, otherwise the limit. The name has 1 to
    /// [`MAX_NAME_LEN`] printable ASCII characters.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidRule`] with the field, its value and the allowed values.
    pub fn check(&self) -> Result<CheckedRule, InvalidRule> {
        CheckedRule::new(self)
    }
}

impl CheckedRule {
    fn new(rule: &Rule) -> Result<Self, InvalidRule> {
        let wrong =
            |field, value, allowed| Err(InvalidRule::new(&rule.name, field, value, allowed));
        if !is_name(&rule.name) {
            let allowed = format!("1 to {MAX_NAME_LEN} printable ASCII characters");
            return wrong("name", quoted(&rule.name), allowed);
        }
        let log = rule.algorithm == Algorithm::SlidingWindowLog;
        let most = if log { MAX_LOG_LIMIT } else { MAX_LIMIT };
        if !(1..=most).contains(&rule.limit) {
            let why = if log { " (the sliding window log keeps every request)" } else { "" };
            return wrong("limit", rule.limit.to_string(), format!("from 1 to {most}{why}"));
        }
        if !is_span(rule.window) {
            return wrong("window", format!("{:?}", rule.window), spans());
        }
        let window = Micros::from(rule.window);
        if let Some(burst) = rule.burst {
            if !rule.algorithm.is_bucket() {
                let allowed = "omitted: only the token and the leaky bucket have one".to_owned();
                return wrong("burst", burst.to_string(), allowed);
            }
            let most = most_burst(rule.limit, window);
            if !(1..=most).contains(&burst) {
                let allowed = format!("from 1 to {most}, so that it refills within ten years");
                return wrong("burst", burst.to_string(), allowed);
            }
        }
        let capacity = rule.burst.unwrap_or(rule.limit);
        if !(1..=capacity).contains(&rule.cost) {
            let allowed = format!("from 1 to {capacity}, the most that the rule ever allows");
            return wrong("cost", rule.cost.to_string(), allowed);
        }
        if let Some(block) = rule.block
            && !is_span(block)
        {
            return wrong("block", format!("{block:?}"), spans());
        }
        Ok(Self {
            name: rule.name.clone(),
            limit: rule.limit,
            window,
            algorithm: rule.algorithm,
            capacity,
            block: rule.block.map(Micros::from),
            cost: rule.cost,
            name_hash: fnv_1a(rule.name.as_bytes()),
            max_delay: None,
            scaled_capacity: scaled(capacity, window),
        })
    }

    /// Returns the rule, or an error for a sliding window log with a limit above `most`, the highest that the storage
    /// supports.
    pub(crate) fn with_log_limit(self, most: u64, kind: &str) -> Result<Self, InvalidRule> {
        if self.algorithm != Algorithm::SlidingWindowLog || self.limit <= most {
            return Ok(self);
        }
        let allowed = format!(
            "from 1 to {most} for a sliding window log on this storage ({kind}), which iterates over all entries; \
             the sliding window counter accepts any limit"
        );
        Err(InvalidRule::new(&self.name, "limit", self.limit.to_string(), allowed))
    }

    /// Returns the name.
    #[inline]
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a hash of the name that is the same in every process.
    ///
    /// It is computed once, so a storage does not have to hash the name for each request. The hash is 64-bit FNV-1a
    /// (Fowler, Noll and Vo), which does not resist collisions; that is sufficient because operators choose the names.
    #[inline]
    #[must_use]
    pub fn name_hash(&self) -> u64 {
        self.name_hash
    }

    /// Returns the limit N, in requests per window.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the window W.
    #[inline]
    #[must_use]
    pub fn window(&self) -> Micros {
        self.window
    }

    /// Returns the algorithm that counts requests.
    #[inline]
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the highest cost that one request may ever have: the burst of a bucket, otherwise the limit.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns how long a denial blocks the key, if the rule has a block.
    #[inline]
    #[must_use]
    pub fn block(&self) -> Option<Micros> {
        self.block
    }

    /// Returns the cost of a request without an explicit cost.
    #[inline]
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Returns the longest delay of a request in the queue of a leaky bucket, if it is limited beyond the size of the
    /// queue. A request that would be scheduled later is denied.
    #[inline]
    #[must_use]
    pub fn max_delay(&self) -> Option<Micros> {
        self.max_delay
    }

    /// Returns `capacity · window` if it fits in 62 bits, otherwise 0.
    ///
    /// If it fits, 64 bits are enough to decide a request of this rule. That is the case for all usual rules: a million
    /// requests per day need 57 bits.
    #[inline]
    pub(crate) fn scaled_capacity(&self) -> u64 {
        self.scaled_capacity
    }

    /// Returns the longest lifetime of a key's state under this rule.
    #[must_use]
    pub fn longest_lifetime(&self) -> Micros {
        let drain = u128::from(self.capacity) * u128::from(self.window.get());
        let usage = match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindowLog => self.window.get(),
            Algorithm::SlidingWindowCounter => 2 * self.window.get(),
            Algorithm::TokenBucket | Algorithm::LeakyBucket => {
                // A token bucket remembers refunds for as long as a receipt from before may still be used.
                let twice = if self.algorithm == Algorithm::TokenBucket { 2 } else { 1 };
                u64::try_from((twice * drain).div_ceil(u128::from(self.limit))).unwrap_or(u64::MAX)
            }
        };
        Micros::new(usage.max(self.block.unwrap_or_default().get()))
    }

    /// Returns the same rule without its block, so that a denial does not block the key.
    #[must_use]
    pub fn without_block(&self) -> Self {
        Self { block: None, ..self.clone() }
    }

    /// Returns the same rule with a longest delay: it denies requests whose scheduled time is further away.
    ///
    /// It has no effect on algorithms other than the leaky bucket, which have no scheduled times.
    #[must_use]
    pub fn with_max_delay(&self, at_most: Duration) -> Self {
        let is_queue = self.algorithm == Algorithm::LeakyBucket;
        // The longest queue takes ten years to drain, so a longer delay is not a limit.
        let bound = is_queue && at_most < MAX_WINDOW;
        Self { max_delay: bound.then(|| at_most.into()), ..self.clone() }
    }

    /// Returns the same rule with `numerator / denominator` of its limit and burst, each rounded down, but at least 1
    /// and at most the original value.
    ///
    /// Use it for servers that each enforce a share of a limit: the sum of n shares of `fraction(1, n)` does not exceed
    /// the limit, unless the limit is less than n.
    #[must_use]
    pub fn fraction(&self, numerator: u64, denominator: NonZeroU64) -> Self {
        let part = |whole: u64| mul_div(whole, numerator, denominator.get()).clamp(1, whole);
        let (limit, capacity) = (part(self.limit), part(self.capacity));
        let scaled_capacity = scaled(capacity, self.window);
        Self { limit, capacity, cost: self.cost.min(capacity), scaled_capacity, ..self.clone() }
    }

    /// Returns the same rule with a window that is longer by `span`.
    ///
    /// Use it for a sliding window log if charges are spent up to `span` after they were made. All charges that are
    /// spent within one window were then made within one longer window.
    #[must_use]
    pub fn with_longer_window(&self, span: Micros) -> Self {
        let longest = Micros::from(MAX_WINDOW).get().saturating_mul(2); // products still fit
        let window = Micros::new(self.window.plus(span).get().min(longest));
        Self { window, scaled_capacity: scaled(self.capacity, window), ..self.clone() }
    }

    /// Returns the same rule with a burst that is smaller by `reserve`, but at least 1. A rule that is not a bucket
    /// does not change.
    ///
    /// Use it for a bucket whose tokens are spent some time after they were taken: the reserve covers the tokens
    /// that are refilled in the meantime.
    #[must_use]
    pub fn with_burst_reserved(&self, reserve: u64) -> Self {
        if !self.algorithm.is_bucket() {
            return self.clone();
        }
        let capacity = self.capacity.saturating_sub(reserve).max(1);
        let scaled_capacity = scaled(capacity, self.window);
        Self { capacity, cost: self.cost.min(capacity), scaled_capacity, ..self.clone() }
    }
}

/// Returns whether a name can be a quoted string in a header field: printable ASCII (RFC 9651, section 3.3.3).
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(|b| (0x20..=0x7e).contains(&b))
}

fn scaled(capacity: u64, window: Micros) -> u64 {
    capacity.checked_mul(window.get()).filter(|scaled| *scaled < 1 << 62).unwrap_or(0)
}

fn is_span(span: Duration) -> bool {
    (MIN_WINDOW..=MAX_WINDOW).contains(&span)
}

fn spans() -> String {
    "from 1 ms to 10 years".to_owned()
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Returns the highest burst that refills at N per W within the longest window.
fn most_burst(limit: u64, window: Micros) -> u64 {
    let longest = Micros::from(MAX_WINDOW).get();
    let most = u128::from(longest) * u128::from(limit) / u128::from(window.get());
    u64::try_from(most).unwrap_or(u64::MAX).min(MAX_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(rule: Rule) -> &'static str {
        rule.check().unwrap_err().field()
    }

    #[test]
    fn each_field_out_of_range_is_named() {
        let bucket = || Rule::per_second("r", 10).algorithm(Algorithm::TokenBucket);
        assert_eq!(field_of(Rule::per_second("r", 0)), "limit");
        assert_eq!(field_of(Rule::per_second("r", MAX_LIMIT + 1)), "limit");
        let log = Rule::per_second("r", MAX_LOG_LIMIT + 1).algorithm(Algorithm::SlidingWindowLog);
        assert_eq!(field_of(log), "limit");
        assert_eq!(field_of(Rule::new("r", 1, Duration::ZERO)), "window");
        assert_eq!(field_of(Rule::new("r", 1, Duration::from_micros(999))), "window");
        assert_eq!(field_of(Rule::new("r", 1, MAX_WINDOW + Duration::from_nanos(1))), "window");
        assert_eq!(field_of(Rule::new("r", 1, Duration::MAX)), "window");
        assert_eq!(field_of(bucket().burst(0)), "burst");
        assert_eq!(field_of(bucket().burst(u64::MAX)), "burst");
        assert_eq!(
            field_of(Rule::per_day("r", 1).algorithm(Algorithm::LeakyBucket).burst(3_651)),
            "burst"
        );
        assert_eq!(field_of(Rule::per_second("r", 10).burst(20)), "burst");
        assert_eq!(field_of(bucket().cost(0)), "cost");
        assert_eq!(field_of(bucket().burst(5).cost(6)), "cost");
        assert_eq!(field_of(Rule::per_second("r", 1).block(Duration::ZERO)), "block");
        assert_eq!(field_of(Rule::per_second("r", 1).block(Duration::MAX)), "block");
    }

    #[test]
    fn a_name_that_a_header_field_cannot_contain_is_rejected() {
        for name in ["", "a\nb", "a\0", "é", &"x".repeat(MAX_NAME_LEN + 1), &"x".repeat(70_000)] {
            let error = Rule::per_second(name, 1).check().unwrap_err();
            assert_eq!(error.field(), "name");
            assert!(error.to_string().len() < 400);
        }
        for name in ["a:b", "a b", "\"quoted\\\"", "{x}", &"x".repeat(MAX_NAME_LEN)] {
            assert!(Rule::per_second(name, 1).check().is_ok());
        }
    }

    #[test]
    fn the_sum_of_all_shares_does_not_exceed_the_rule_unless_a_share_would_be_zero() {
        let servers = |n| NonZeroU64::new(n).unwrap();
        for (limit, burst, n) in [(100, 20, 3), (7, 7, 7), (2, 5, 4), (1, 1, 1_000)] {
            let bucket = Rule::per_second("r", limit).algorithm(Algorithm::TokenBucket);
            let rule = bucket.burst(burst).cost(burst).check().unwrap();
            let share = rule.fraction(1, servers(n));
            assert!(share.limit() * n <= limit.max(n) && share.limit() > 0);
            assert!(share.capacity() * n <= burst.max(n) && share.cost() <= share.capacity());
            assert_eq!((share.name(), share.window()), (rule.name(), rule.window()));
        }
        let rule = Rule::new("r", MAX_LIMIT, MAX_WINDOW).check().unwrap();
        assert_eq!(rule.fraction(u64::MAX, servers(1)), rule, "never more than the original");
        assert_eq!(rule.fraction(0, servers(1)).limit(), 1);
    }

    #[test]
    fn a_longer_window_or_a_smaller_burst_changes_nothing_else() {
        let log = Rule::per_second("r", 10).algorithm(Algorithm::SlidingWindowLog).check().unwrap();
        let longer = log.with_longer_window(Micros::new(50_000));
        assert_eq!((longer.window(), longer.limit()), (Micros::new(1_050_000), 10));
        assert_eq!(
            log.with_longer_window(Micros::MAX).window().get(),
            2 * Micros::from(MAX_WINDOW).get()
        );
        assert_eq!(log.with_burst_reserved(3), log, "a window has no burst");

        let bucket = Rule::per_second("r", 10).algorithm(Algorithm::TokenBucket).burst(8).cost(7);
        let bucket = bucket.check().unwrap();
        let less = bucket.with_burst_reserved(2);
        assert_eq!((less.capacity(), less.cost(), less.limit()), (6, 6, 10));
        assert_eq!(bucket.with_burst_reserved(u64::MAX).capacity(), 1);
    }

    #[test]
    fn the_hash_of_a_name_is_fnv_1a() {
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_largest_values_are_accepted() {
        assert!(Rule::new("r", MAX_LIMIT, MAX_WINDOW).block(MAX_WINDOW).check().is_ok());
        assert!(Rule::new("r", 1, MIN_WINDOW).check().is_ok());
        let bucket = Rule::new("r", MAX_LIMIT, MAX_WINDOW).algorithm(Algorithm::TokenBucket);
        assert!(bucket.burst(MAX_LIMIT).check().is_ok());
    }
}
