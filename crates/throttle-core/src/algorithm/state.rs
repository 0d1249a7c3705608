//! The state of any algorithm, and the dispatch to its functions.

use super::{
    answer::{Availability, ChargeOutcome, Decided},
    block::Block,
    bucket::Bucket,
    fixed_window::FixedWindow,
    mixed,
    sliding_counter::SlidingCounter,
    sliding_log::SlidingLog,
};
use crate::{
    receipt::Receipt,
    rule::{
        algorithm::Algorithm,
        checked::{CheckedRule, MAX_SPAN},
    },
    time::Micros,
};

/// The state of one key under one rule, which a storage keeps.
///
/// The default state belongs to a key without requests. A storage keeps states as they are, or as bytes
/// ([`State::encode`]), and changes them only with functions such as [`crate::acquire`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct State {
    pub(super) usage: Usage,
    /// `None` for most states, and boxed to keep them small.
    pub(super) extra: Option<Box<Extra>>,
}

/// The rare parts of a state.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Extra {
    pub(super) block: Option<Block>,
    /// The usage of other algorithms under the same rule name, at most one of each, until it expires.
    pub(super) others: Vec<Usage>,
}

/// The counts of one algorithm.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) enum Usage {
    #[default]
    Vacant,
    FixedWindow(FixedWindow),
    SlidingCounter(SlidingCounter),
    SlidingLog(SlidingLog),
    Bucket(Bucket),
}

/// Calls the function of the algorithm: the only match over all of them.
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
    /// Moves the state to the current time, which does not change decisions.
    ///
    /// Each algorithm has its own count under a rule name, even if servers with different algorithms alternate. A block
    /// applies to all of them.
    #[inline]
    pub(crate) fn advance(&mut self, rule: &CheckedRule, now: Micros) {
        if self.extra.is_some() {
            self.advance_extra(now);
        }
        if !self.usage.is_of(rule.algorithm()) {
            self.switch(rule, now);
        }
        of_usage!(&mut self.usage, state => state.advance(rule, now), vacant => ());
    }

    #[cold]
    fn advance_extra(&mut self, now: Micros) {
        let Some(extra) = self.extra.as_deref_mut() else { return };
        if extra.block.as_mut().is_some_and(|block| block.advance(now)) {
            extra.block = None;
        }
        extra.others.retain(|other| other.left_by_itself(now) > Micros::ZERO);
        self.drop_empty_extra();
    }

    /// Stores the usage of the previous algorithm with the others, and restores the usage of this algorithm.
    fn switch(&mut self, rule: &CheckedRule, now: Micros) {
        let algorithm = rule.algorithm();
        let new = Usage::new(algorithm);
        if matches!(self.usage, Usage::Vacant) {
            self.usage = new; // a vacant state has no others
            return;
        }
        let own = self.extra.as_deref_mut().and_then(|extra| {
            let index = extra.others.iter().position(|other| other.is_of(algorithm))?;
            Some(extra.others.swap_remove(index))
        });
        let other = std::mem::replace(&mut self.usage, own.unwrap_or(new));
        if other.left_by_itself(now) > Micros::ZERO {
            mixed::warn_once(rule.name());
            self.extra.get_or_insert_default().others.push(other);
        }
        self.drop_empty_extra();
    }

    fn drop_empty_extra(&mut self) {
        self.extra.take_if(|extra| extra.block.is_none() && extra.others.is_empty());
    }

    fn active_block(&self) -> Option<&Block> {
        self.extra.as_deref()?.block.as_ref()
    }

    /// Returns whether the state is from a later time than now, because the clock stepped back. Then the advanced state
    /// must be stored, even if nothing is charged.
    pub(crate) fn is_ahead(&self, now: Micros) -> bool {
        self.active_block().is_some_and(|block| block.is_ahead(now))
            || self.usage.is_ahead(now)
            || self
                .extra
                .as_deref()
                .is_some_and(|extra| extra.others.iter().any(|other| other.is_ahead(now)))
    }

    /// Returns whether a storage may peek at the state itself, instead of a copy.
    ///
    /// If a rule with another window or of the other kind of bucket advances the state, a part of the usage is lost. A
    /// peek must not do that to the rule that counted it, unless the clock stepped back.
    #[must_use]
    pub fn is_advanced_by_peek(&self, rule: &CheckedRule, now: Micros) -> bool {
        let others = self.extra.iter().flat_map(|extra| &extra.others);
        let mut all = std::iter::once(&self.usage).chain(others);
        !all.any(|usage| usage.loses_by(rule)) || self.is_ahead(now)
    }

    /// Returns whether `cost` is allowed; it charges nothing.
    #[inline]
    pub(crate) fn decide(&self, rule: &CheckedRule, now: Micros, cost: u64) -> Decided {
        let exceeds_capacity = cost > rule.capacity();
        if let Some(block) = self.active_block() {
            let retry_after = (!exceeds_capacity).then(|| block.left(now));
            return Decided::Denied { retry_after, blocked: true };
        }
        if exceeds_capacity {
            return Decided::Denied { retry_after: None, blocked: false };
        }
        of_usage!(&self.usage, state => state.decide(rule, now, cost),
            vacant => Decided::Allowed { delay: Micros::ZERO })
    }

    /// Charges `cost`, and returns the receipt.
    #[inline]
    pub(crate) fn charge(&mut self, rule: &CheckedRule, now: Micros, cost: u64) -> Receipt {
        of_usage!(&mut self.usage, state => state.charge(rule, now, cost),
            vacant => Receipt::default())
    }

    /// Advances the state, decides, and charges it if the cost is allowed.
    ///
    /// This is the hot path of a request with one rule. It first tries 64-bit arithmetic, which suffices for most
    /// requests that are allowed. The caller starts the block after a denial.
    #[inline]
    pub(crate) fn advance_and_charge(
        &mut self,
        rule: &CheckedRule,
        now: Micros,
        cost: u64,
    ) -> Result<ChargeOutcome, Decided> {
        macro_rules! charge {
            ($state:expr) => {
                match $state.decide(rule, now, cost) {
                    Decided::Allowed { delay } => {
                        let receipt = $state.charge(rule, now, cost);
                        Ok(ChargeOutcome {
                            delay,
                            receipt,
                            availability: $state.availability(rule, now),
                        })
                    }
                    denied => Err(denied),
                }
            };
        }
        let is_plain = self.extra.is_none() && cost <= rule.capacity();
        if !is_plain || !self.usage.is_of(rule.algorithm()) {
            self.advance(rule, now);
            return charge!(self);
        }
        let charged = match &mut self.usage {
            Usage::Bucket(bucket) => bucket.charge_in_64_bits(rule, now, cost),
            Usage::SlidingCounter(counter) => counter.charge_in_64_bits(rule, now, cost),
            _ => None,
        };
        if let Some(charged) = charged {
            return Ok(charged);
        }
        of_usage!(&mut self.usage, state => {
            state.advance(rule, now);
            charge!(state)
        }, vacant => charge!(self)) // not reached: `is_of` is false for a vacant state
    }

    /// Refunds the charge that a receipt identifies, or without a receipt, the latest charges.
    pub(crate) fn refund(
        &mut self,
        rule: &CheckedRule,
        now: Micros,
        cost: u64,
        receipt: Option<Receipt>,
    ) {
        of_usage!(&mut self.usage, state => state.refund(rule, now, cost, receipt), vacant => ());
    }

    /// Returns the free capacity of the key, which is zero while the key is blocked.
    #[inline]
    pub(crate) fn availability(&self, rule: &CheckedRule, now: Micros) -> Availability {
        if let Some(block) = self.active_block() {
            return Availability { remaining: 0, reset_after: block.left(now) };
        }
        let vacant = Availability { remaining: rule.capacity(), reset_after: Micros::ZERO };
        of_usage!(&self.usage, state => state.availability(rule, now), vacant => vacant)
    }

    /// Returns for how much longer the key is blocked, if it is.
    #[inline]
    pub(crate) fn blocked_for(&self, now: Micros) -> Option<Micros> {
        self.active_block().map(|block| block.left(now))
    }

    /// Blocks the key for `span`, at most [`MAX_SPAN`].
    pub(crate) fn start_block(&mut self, now: Micros, span: Micros) {
        self.extra.get_or_insert_default().block = Some(Block::new(now, span.min(MAX_SPAN)));
    }

    /// Returns how long the state must be kept; zero if it may be removed.
    ///
    /// `now` is the time of the latest change of the state.
    #[inline]
    #[must_use]
    pub fn lifetime(&self, rule: &CheckedRule, now: Micros) -> Micros {
        let usage = of_usage!(&self.usage, state => state.lifetime(rule, now),
            vacant => Micros::ZERO);
        self.extra.as_deref().map_or(usage, |extra| usage.max(extra.lifetime(now)))
    }

    /// Returns whether the state may have to be kept for longer than until the whole limit is free.
    #[inline]
    #[must_use]
    pub fn outlives_reset(&self) -> bool {
        self.extra.is_some()
            || matches!(&self.usage, Usage::Bucket(bucket) if bucket.outlives_reset())
    }
}

impl Extra {
    fn lifetime(&self, now: Micros) -> Micros {
        let others = self.others.iter().map(|other| other.left_by_itself(now)).max();
        let block = self.block.as_ref().map(|block| block.left(now));
        others.max(block).unwrap_or_default()
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

    fn is_ahead(&self, now: Micros) -> bool {
        of_usage!(self, state => state.is_ahead(now), vacant => false)
    }

    /// Returns the lifetime under the latest rule, without access to that rule.
    fn left_by_itself(&self, now: Micros) -> Micros {
        of_usage!(self, state => state.left_by_itself(now), vacant => Micros::ZERO)
    }

    /// Returns whether some of the usage may be lost if this rule advances the state instead of the rule that counted
    /// it.
    fn loses_by(&self, rule: &CheckedRule) -> bool {
        let is_other = match self {
            Self::Vacant => false,
            Self::FixedWindow(state) => state.window != rule.window(),
            Self::SlidingCounter(state) => state.window != rule.window(),
            Self::SlidingLog(state) => state.window != rule.window(),
            Self::Bucket(state) => {
                state.window != rule.window() || state.has_refunds_of_other(rule.algorithm())
            }
        };
        is_other && self.is_of(rule.algorithm())
    }

    #[inline]
    pub(super) fn is_of(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Vacant => false,
            Self::FixedWindow(_) => algorithm == Algorithm::FixedWindow,
            Self::SlidingCounter(_) => algorithm == Algorithm::SlidingWindowCounter,
            Self::SlidingLog(_) => algorithm == Algorithm::SlidingWindowLog,
            Self::Bucket(_) => algorithm.is_bucket(),
        }
    }
}
