//! The five algorithms: pure arithmetic on a [`State`], with the time as a parameter.
//!
//! Each keeps its state in whole numbers, so that after exactly one window exactly the limit is back.
//! A state is first brought to now (`advance`, which changes no answer), then asked (`decide`), and
//! only then, when every rule of the request admits, charged (`charge`).
//!
//! # A clock that steps back
//!
//! To a state that was last touched at a later time than now, time stood still: its moments move back
//! with the clock. So nothing is forgotten, no key is shut for longer than its window or block, and
//! more is admitted only for time that went forwards.

mod block;
mod bucket;
mod codec;
mod fixed_window;
mod holes;
mod sliding_counter;
mod sliding_log;
pub mod tag;
mod wide;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::codec::CorruptState;
pub(crate) use self::wide::Wide;
use self::{
    block::Block,
    bucket::{Bucket, Moved, Returned},
    fixed_window::FixedWindow,
    holes::{Hole, Holes, MOST_HOLES},
    sliding_counter::SlidingCounter,
    sliding_log::SlidingLog,
};
use crate::{CheckedRule, Micros, Receipt};

/// Picks how requests are counted.
///
/// N is the limit, W the window, B the burst. "At most" is what can pass in any stretch of length
/// d ≤ W, whatever a client does.
///
/// | algorithm | at most | state | take it for |
/// | --- | --- | --- | --- |
/// | fixed window | N in a window, 2N across an edge | one count | quotas by the calendar |
/// | sliding window counter | N + N·d/W | two counts | most things: it is the default |
/// | sliding window log | N | up to N moments | few, costly requests |
/// | token bucket | B + N·d/W | one number | bursts after a pause |
/// | leaky bucket | B + N·d/W; shaped: 1 + N·d/W | one number | an even stream |
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// Counts in windows that are aligned to the epoch.
    FixedWindow = 1,
    /// Counts in aligned windows, the previous one weighing less as this one goes on.
    #[default]
    SlidingWindowCounter = 2,
    /// Remembers when each request came, for one window.
    SlidingWindowLog = 3,
    /// Holds B tokens, refilled at N / W; a request takes as many as it costs.
    TokenBucket = 4,
    /// Holds a queue of B places, drained at N / W, and tells each request how far its turn is.
    LeakyBucket = 5,
}

impl Algorithm {
    /// All of them, in the order of the docs.
    pub const ALL: [Self; 5] = [
        Self::FixedWindow,
        Self::SlidingWindowCounter,
        Self::SlidingWindowLog,
        Self::TokenBucket,
        Self::LeakyBucket,
    ];

    /// Returns the name as it is written in configuration: `token_bucket`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindowCounter => "sliding_window_counter",
            Self::SlidingWindowLog => "sliding_window_log",
            Self::TokenBucket => "token_bucket",
            Self::LeakyBucket => "leaky_bucket",
        }
    }

    /// Returns the number that stored states and requests to Redis name the algorithm by.
    #[doc(hidden)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the algorithm of a [`number`](Self::number), if there is one.
    #[doc(hidden)]
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    pub(crate) const fn is_bucket(self) -> bool {
        matches!(self, Self::TokenBucket | Self::LeakyBucket)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Says that a text names no algorithm, and which there are.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0} is no algorithm; there are fixed_window, sliding_window_counter, sliding_window_log, \
     token_bucket and leaky_bucket"
)]
pub struct UnknownAlgorithm(String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name);
        found.ok_or_else(|| UnknownAlgorithm(crate::rule::quoted(name)))
    }
}

/// Says whether a state would admit a cost.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It would, after `delay` where the caller shapes.
    Admitted { delay: Micros },
    /// It would not; it will in `retry_after` if nothing else is admitted, or never.
    Denied { retry_after: Option<Micros>, blocked: bool },
}

/// Says what a charge did.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Charged {
    pub(crate) delay: Micros,
    pub(crate) receipt: Receipt,
    pub(crate) standing: Standing,
}

/// Says where a key stands, whatever is asked next.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) remaining: u64,
    pub(crate) reset_after: Micros,
}

/// Holds what a storage must remember of one key under one rule.
///
/// It starts vacant. Storages keep it in place (memory) or as bytes ([`State::encode`]); what to do
/// with it is [`crate::settle`]'s business.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct State {
    block: Option<Box<Block>>,
    usage: Usage,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
enum Usage {
    #[default]
    Vacant,
    FixedWindow(FixedWindow),
    SlidingCounter(SlidingCounter),
    SlidingLog(SlidingLog),
    Bucket(Bucket),
}

/// Dispatches to the algorithm's own function; the one match over all of them.
macro_rules! of_usage {
    ($usage:expr, $state:ident => $answer:expr, vacant => $vacant:expr) => {
        match $usage {
            Usage::Vacant => $vacant,
            Usage::FixedWindow($state) => $answer,
            Usage::SlidingCounter($state) => $answer,
            Usage::SlidingLog($state) => $answer,
            Usage::Bucket($state) => $answer,
        }
    };
}

impl State {
    /// Brings the state to now; no answer changes by it.
    ///
    /// A rule that was replaced by one of another algorithm starts anew, but what is shut stays shut.
    #[inline]
    pub(crate) fn advance(&mut self, rule: &CheckedRule, now: Micros) {
        if self.block.as_mut().is_some_and(|block| block.advance(now)) {
            self.block = None;
        }
        if !self.usage.is_of(rule.algorithm()) {
            self.usage = Usage::new(rule.algorithm());
        }
        of_usage!(&mut self.usage, state => state.advance(rule, now), vacant => ());
    }

    /// Returns whether the state was touched at a later time than now: the clock stepped back, and
    /// what [`State::advance`] makes of it must be kept.
    pub(crate) fn is_ahead(&self, now: Micros) -> bool {
        self.block.as_ref().is_some_and(|block| block.is_ahead(now))
            || of_usage!(&self.usage, state => state.is_ahead(now), vacant => false)
    }

    /// Says whether `cost` would be admitted; charges nothing.
    #[inline]
    pub(crate) fn decide(&self, rule: &CheckedRule, now: Micros, cost: u64) -> Admission {
        let never = cost > rule.capacity();
        if let Some(block) = &self.block {
            let retry_after = (!never).then(|| block.left(now));
            return Admission::Denied { retry_after, blocked: true };
        }
        if never {
            return Admission::Denied { retry_after: None, blocked: false };
        }
        of_usage!(&self.usage, state => state.decide(rule, now, cost),
            vacant => Admission::Admitted { delay: Micros::ZERO })
    }

    /// Takes `cost`, and says who was charged.
    #[inline]
    pub(crate) fn charge(&mut self, rule: &CheckedRule, now: Micros, cost: u64) -> Receipt {
        of_usage!(&mut self.usage, state => state.charge(rule, now, cost),
            vacant => Receipt::default())
    }

    /// Brings the state to now, asks it, and charges it if it admits: what a request of one rule needs,
    /// with one look at which algorithm it is. It answers a denial without shutting anything.
    #[inline]
    pub(crate) fn advance_and_charge(
        &mut self,
        rule: &CheckedRule,
        now: Micros,
        cost: u64,
    ) -> Result<Charged, Admission> {
        macro_rules! charge {
            ($state:expr) => {
                match $state.decide(rule, now, cost) {
                    Admission::Admitted { delay } => {
                        let receipt = $state.charge(rule, now, cost);
                        Ok(Charged { delay, receipt, standing: $state.standing(rule, now) })
                    }
                    denied => Err(denied),
                }
            };
        }
        let is_plain = self.block.is_none() && cost <= rule.capacity();
        if !is_plain || !self.usage.is_of(rule.algorithm()) {
            self.advance(rule, now);
            return charge!(self);
        }
        of_usage!(&mut self.usage, state => {
            state.advance(rule, now);
            charge!(state)
        }, vacant => charge!(self)) // which is of no algorithm
    }

    /// Gives back what is left of a charge, or of the latest ones when there is no receipt.
    pub(crate) fn refund(
        &mut self,
        rule: &CheckedRule,
        now: Micros,
        cost: u64,
        receipt: Option<Receipt>,
    ) {
        of_usage!(&mut self.usage, state => state.refund(rule, now, cost, receipt), vacant => ());
    }

    /// Says where the key stands; while it is shut, that is until it opens.
    #[inline]
    pub(crate) fn standing(&self, rule: &CheckedRule, now: Micros) -> Standing {
        if let Some(block) = &self.block {
            return Standing { remaining: 0, reset_after: block.left(now) };
        }
        let vacant = Standing { remaining: rule.capacity(), reset_after: Micros::ZERO };
        of_usage!(&self.usage, state => state.standing(rule, now), vacant => vacant)
    }

    /// Returns how long the key is shut yet, if it is.
    #[inline]
    pub(crate) fn shut_for(&self, now: Micros) -> Option<Micros> {
        self.block.as_ref().map(|block| block.left(now))
    }

    /// Shuts the key for `span`.
    pub(crate) fn shut(&mut self, now: Micros, span: Micros) {
        self.block = Some(Box::new(Block::new(now, span)));
    }

    /// Returns for how long the state can still matter; zero when it may be forgotten.
    ///
    /// `now` is the time at which the state was settled last.
    #[inline]
    #[must_use]
    pub fn lifetime(&self, rule: &CheckedRule, now: Micros) -> Micros {
        let usage = of_usage!(&self.usage, state => state.lifetime(rule, now),
            vacant => Micros::ZERO);
        usage.max(self.block.as_ref().map_or(Micros::ZERO, |block| block.left(now)))
    }

    /// Returns whether the state may matter for longer than until all of the limit is free.
    #[inline]
    #[must_use]
    pub fn outlives_reset(&self) -> bool {
        self.block.is_some()
            || matches!(&self.usage, Usage::Bucket(bucket) if bucket.outlives_reset())
    }
}

impl Usage {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::FixedWindow => Self::FixedWindow(FixedWindow::default()),
            Algorithm::SlidingWindowCounter => Self::SlidingCounter(SlidingCounter::default()),
            Algorithm::SlidingWindowLog => Self::SlidingLog(SlidingLog::default()),
            Algorithm::TokenBucket | Algorithm::LeakyBucket => Self::Bucket(Bucket::default()),
        }
    }

    #[inline]
    fn is_of(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Vacant => false,
            Self::FixedWindow(_) => algorithm == Algorithm::FixedWindow,
            Self::SlidingCounter(_) => algorithm == Algorithm::SlidingWindowCounter,
            Self::SlidingLog(_) => algorithm == Algorithm::SlidingWindowLog,
            Self::Bucket(_) => algorithm.is_bucket(),
        }
    }
}

/// Returns `a·b / c`, rounded down, for products that pass 64 bits; `c` is not zero.
pub(crate) fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    quotient(product(a, b), c)
}

/// Returns `a / b`, rounded down, or the greatest number there is; `b` is not zero.
///
/// Nearly all of it fits in 64 bits, whose division takes a fraction of the time.
#[inline]
pub(crate) fn quotient(a: u128, b: u64) -> u64 {
    match u64::try_from(a) {
        Ok(a) => a / b,
        Err(_) => saturated(a / u128::from(b)),
    }
}

/// Returns `a / b`, rounded up, or the greatest number there is; `b` is not zero.
#[inline]
pub(crate) fn quotient_ceil(a: u128, b: u64) -> u64 {
    match u64::try_from(a) {
        Ok(a) => a.div_ceil(b),
        Err(_) => saturated(a.div_ceil(u128::from(b))),
    }
}

/// Returns `a·b` whole.
#[inline]
pub(crate) fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// Returns the number, or the greatest there is.
fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
