//! The checked form of a rule, the only one that arithmetic sees.

use std::{num::NonZeroU64, time::Duration};

use super::{
    algorithm::Algorithm,
    definition::Rule,
    error::{InvalidRule, quoted},
};
use crate::{exact::mul_div, time::Micros};

/// The greatest limit, burst and cost: the greatest integer of a structured field ([RFC 9651]).
///
/// [RFC 9651]: https://www.rfc-editor.org/rfc/rfc9651#section-3.3.1
pub const MAX_LIMIT: u64 = 999_999_999_999_999;
/// The greatest limit of the sliding window log, which holds an entry for each request.
pub const MAX_LOG_LIMIT: u64 = 1_000_000;
/// The shortest window.
pub const MIN_WINDOW: Duration = Duration::from_millis(1);
/// The longest window: ten years of 365 days.
pub const MAX_WINDOW: Duration = Duration::from_secs(10 * 365 * 86_400);
/// More than any window, block or wait: more than 31 years.
pub(crate) const MAX_SPAN: Micros = Micros::new(1_000_000_000_000_000);
/// The longest name, in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// A rule whose values are known to be in range: products of two of them fit in 128 bits.
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
}

impl Rule {
    /// Returns the checked form.
    ///
    /// # Errors
    ///
    /// [`InvalidRule`], which names the field, the value and what is allowed: a limit or burst from 1
    /// to [`MAX_LIMIT`] ([`MAX_LOG_LIMIT`] for the sliding window log), a window or block from
    /// [`MIN_WINDOW`] to [`MAX_WINDOW`], a bucket that is empty again within [`MAX_WINDOW`], a cost
    /// that the rule can ever admit, a name of 1 to [`MAX_NAME_LEN`] printable ASCII characters.
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
                let allowed = "left out: only the token and the leaky bucket have one".to_owned();
                return wrong("burst", burst.to_string(), allowed);
            }
            let most = most_burst(rule.limit, window);
            if !(1..=most).contains(&burst) {
                let allowed = format!("from 1 to {most}, so that it is back within ten years");
                return wrong("burst", burst.to_string(), allowed);
            }
        }
        let capacity = rule.burst.unwrap_or(rule.limit);
        if !(1..=capacity).contains(&rule.cost) {
            let allowed = format!("from 1 to {capacity}, the most that the rule ever admits");
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
        })
    }

    /// Returns the rule, unless it is a sliding window log that a storage of this kind does not serve.
    pub(crate) fn with_log_limit(self, most: u64, kind: &str) -> Result<Self, InvalidRule> {
        if self.algorithm != Algorithm::SlidingWindowLog || self.limit <= most {
            return Ok(self);
        }
        let allowed = format!(
            "from 1 to {most} for a sliding window log on this storage ({kind}), which walks over its entries; the \
             sliding window counter takes any limit"
        );
        Err(InvalidRule::new(&self.name, "limit", self.limit.to_string(), allowed))
    }

    /// Returns the name.
    #[inline]
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a hash of the name, the same in every process: made once, so that a storage need not
    /// hash the name for each request. It is FNV-1a with 64 bits (Fowler, Noll and Vo); names are the
    /// operator's, not clients'.
    #[inline]
    #[must_use]
    pub fn name_hash(&self) -> u64 {
        self.name_hash
    }

    /// Returns the limit N, in requests for each window.
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

    /// Returns how requests are counted.
    #[inline]
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the most that one request may ever cost: the burst of a bucket, the limit elsewhere.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns how long a denial shuts the key, if it does.
    #[inline]
    #[must_use]
    pub fn block(&self) -> Option<Micros> {
        self.block
    }

    /// Returns what a request costs where the caller does not say.
    #[inline]
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Returns how long a request waits at most for its turn by a leaky bucket, if that is bounded by more than
    /// the queue: whose turn is further away is denied.
    #[inline]
    #[must_use]
    pub fn max_delay(&self) -> Option<Micros> {
        self.max_delay
    }

    /// Returns the longest time for which a key of this rule can matter.
    #[must_use]
    pub fn longest_lifetime(&self) -> Micros {
        let drain = u128::from(self.capacity) * u128::from(self.window.get());
        let usage = match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindowLog => self.window.get(),
            Algorithm::SlidingWindowCounter => 2 * self.window.get(),
            Algorithm::TokenBucket | Algorithm::LeakyBucket => {
                // Twice: what a token bucket was given back is remembered until no receipt can name it.
                let twice = if self.algorithm == Algorithm::TokenBucket { 2 } else { 1 };
                u64::try_from((twice * drain).div_ceil(u128::from(self.limit))).unwrap_or(u64::MAX)
            }
        };
        Micros::new(usage.max(self.block.unwrap_or_default().get()))
    }

    /// Returns the same rule without its block: a denial by it shuts nobody out.
    #[must_use]
    pub fn without_block(&self) -> Self {
        Self { block: None, ..self.clone() }
    }

    /// Returns the same rule by which nobody waits for longer than `at_most` for a turn: it denies whose turn
    /// is further away. To rules of other algorithms, which have no turns, it makes no difference.
    #[must_use]
    pub fn with_max_delay(&self, at_most: Duration) -> Self {
        let is_queue = self.algorithm == Algorithm::LeakyBucket;
        // Longer than any queue is none: the longest takes ten years to drain.
        let bound = is_queue && at_most < MAX_WINDOW;
        Self { max_delay: bound.then(|| at_most.into()), ..self.clone() }
    }

    /// Returns the same rule with a part of its limit and burst: `numerator / denominator` of each,
    /// rounded down, but at least 1 and never more than it was.
    ///
    /// For servers that each keep a share of a limit: n shares of `fraction(1, n)` are no more than the
    /// limit, save where it is less than n.
    #[must_use]
    pub fn fraction(&self, numerator: u64, denominator: NonZeroU64) -> Self {
        let part = |whole: u64| mul_div(whole, numerator, denominator.get()).clamp(1, whole);
        let (limit, capacity) = (part(self.limit), part(self.capacity));
        Self { limit, capacity, cost: self.cost.min(capacity), ..self.clone() }
    }

    /// Returns the same rule over a window that is longer by `span`.
    ///
    /// For the sliding window log whose charges are spent up to `span` later: what is spent within the
    /// window was charged within the longer one.
    #[must_use]
    pub fn with_longer_window(&self, span: Micros) -> Self {
        let longest = Micros::from(MAX_WINDOW).get().saturating_mul(2); // products still fit
        let window = Micros::new(self.window.plus(span).get().min(longest));
        Self { window, ..self.clone() }
    }

    /// Returns the same rule with a burst that is smaller by `reserve`, but at least 1; without a burst
    /// of its own, as the windows have none, it stays as it is.
    ///
    /// For a bucket whose tokens are spent later than they were taken: the reserve is what is refilled
    /// meanwhile.
    #[must_use]
    pub fn with_burst_reserved(&self, reserve: u64) -> Self {
        if !self.algorithm.is_bucket() {
            return self.clone();
        }
        let capacity = self.capacity.saturating_sub(reserve).max(1);
        Self { capacity, cost: self.cost.min(capacity), ..self.clone() }
    }
}

/// A name must stand between quotes in a header field: printable ASCII (RFC 9651, section 3.3.3).
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(|b| (0x20..=0x7e).contains(&b))
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

/// Returns the greatest burst that N per W gives back within the longest window.
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
    fn a_name_that_a_header_cannot_carry_is_refused() {
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
    fn shares_of_a_rule_are_no_more_than_it_save_where_each_would_be_nothing() {
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
        assert_eq!(rule.fraction(u64::MAX, servers(1)), rule, "never more than it was");
        assert_eq!(rule.fraction(0, servers(1)).limit(), 1);
    }

    #[test]
    fn a_longer_window_and_a_smaller_burst_leave_the_rest_as_it_was() {
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
    fn the_hash_of_a_name_is_that_of_the_standard() {
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_greatest_values_are_taken() {
        assert!(Rule::new("r", MAX_LIMIT, MAX_WINDOW).block(MAX_WINDOW).check().is_ok());
        assert!(Rule::new("r", 1, MIN_WINDOW).check().is_ok());
        let bucket = Rule::new("r", MAX_LIMIT, MAX_WINDOW).algorithm(Algorithm::TokenBucket);
        assert!(bucket.burst(MAX_LIMIT).check().is_ok());
    }
}
