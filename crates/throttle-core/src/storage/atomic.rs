//! How a whole request is put to a storage, and how it answers.

use std::{fmt, sync::Arc, time::Duration};

use super::{ListStorage, PlaceStorage, Reply, Storage};
use crate::{CheckedRule, Clock, Key, Outcome, Receipt};
use serde::{Deserialize, Serialize};

/// Decides whole requests, each in one atomic step.
///
/// All of it is required, so that a storage that wraps another cannot forget a part. What it must
/// answer is [`crate::settle`]'s arithmetic, whatever it is written in; the conformance suite of
/// `throttle-testkit` holds every storage to it.
pub trait AtomicStorage: Storage {
    /// Charges every rule of the request, or none if one of them denies.
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome>;

    /// Answers as [`AtomicStorage::acquire`] would, but charges nothing and shuts nothing.
    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome>;

    /// Gives charges back, each to what was charged.
    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()>;

    /// Forgets the keys of the request, blocks included.
    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()>;

    /// Says who shares the limits that are kept here.
    fn scope(&self) -> Scope;

    /// Returns where lists can be kept that all servers share, if this storage can keep them.
    fn lists(&self) -> Option<Arc<dyn ListStorage>>;

    /// Returns where the places of requests under way are counted, if this storage can count them.
    fn places(&self) -> Option<Arc<dyn PlaceStorage>>;

    /// Names the kind of storage for people: `memory`, `redis`.
    fn kind(&self) -> &str;
}

/// Says who shares the limits that a storage keeps.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "either one process or several")]
pub enum Scope {
    /// The limiters of one process.
    Process,
    /// All processes that use the same storage.
    Shared,
}

/// Asks for one request: what is charged to whom by which rules, and when.
#[derive(Copy, Clone)]
pub struct ChargeRequest<'a> {
    charges: &'a [Charge<'a>],
    clock: Option<&'a Arc<dyn Clock>>,
}

/// Charges one key by one rule.
#[derive(Copy, Clone)]
pub struct Charge<'a> {
    key: &'a Key<'a>,
    rule: &'a Arc<CheckedRule>,
    cost: u64,
}

/// Owns what a [`Charge`] borrows, for calls that outlive their request.
#[derive(Clone, Debug)]
pub struct OwnedCharge {
    key: Key<'static>,
    rule: Arc<CheckedRule>,
    cost: u64,
}

/// Gives back one charge.
#[derive(Copy, Clone, Debug)]
pub struct Refund<'a> {
    charge: Charge<'a>,
    receipt: Option<Receipt>,
}

impl<'a> ChargeRequest<'a> {
    /// How much longer keys are kept that were written by a clock of the limiter's own.
    pub const TTL_MARGIN: Duration = Duration::from_secs(60);

    /// Takes the charges; no two of them may be for the same key and rule.
    ///
    /// `clock` is the limiter's own; without one the storage goes by its own.
    #[inline]
    #[must_use]
    pub fn new(charges: &'a [Charge<'a>], clock: Option<&'a Arc<dyn Clock>>) -> Self {
        Self { charges, clock }
    }

    /// Returns the charges, in the order in which their verdicts are expected.
    #[inline]
    #[must_use]
    pub fn charges(&self) -> &'a [Charge<'a>] {
        self.charges
    }

    /// Returns the limiter's own clock, if it has one.
    ///
    /// A storage reads it, or its own, when it holds the states: a time that was read before could be
    /// older than what they hold. What is stored by such a clock is kept [`ChargeRequest::TTL_MARGIN`]
    /// longer than it matters, so that real time cannot overtake the injected one.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> Option<&'a Arc<dyn Clock>> {
        self.clock
    }
}

impl<'a> Charge<'a> {
    /// Charges `cost` (at least 1) to `key` by `rule`.
    #[inline]
    #[must_use]
    pub fn new(key: &'a Key<'a>, rule: &'a Arc<CheckedRule>, cost: u64) -> Self {
        Self { key, rule, cost: cost.max(1) }
    }

    /// Returns who is charged.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &'a Key<'a> {
        self.key
    }

    /// Returns the rule.
    #[inline]
    #[must_use]
    pub fn rule(&self) -> &'a Arc<CheckedRule> {
        self.rule
    }

    /// Returns how much is charged.
    #[inline]
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Returns the same charge with a lifetime of its own.
    #[must_use]
    pub fn to_owned(self) -> OwnedCharge {
        let key = self.key.clone().into_owned();
        OwnedCharge { key, rule: Arc::clone(self.rule), cost: self.cost }
    }

    /// Returns the key of this charge in a storage of texts: `{identity}:rule`, where the identity is
    /// written as [`Key::to_word`] and the rule's name in the same way.
    #[must_use]
    pub fn storage_key(&self) -> String {
        let rule = Key::from(self.rule.name()).to_word();
        format!("{{{}}}:{rule}", self.key)
    }
}

impl OwnedCharge {
    /// Lends the charge.
    #[must_use]
    pub fn borrow(&self) -> Charge<'_> {
        Charge::new(&self.key, &self.rule, self.cost)
    }
}

impl<'a> Refund<'a> {
    /// Gives back `charge`: what is left of the one that the receipt names, or of the latest ones.
    #[inline]
    #[must_use]
    pub fn new(charge: Charge<'a>, receipt: Option<Receipt>) -> Self {
        Self { charge, receipt }
    }

    /// Returns what is given back.
    #[must_use]
    pub fn charge(&self) -> Charge<'a> {
        self.charge
    }

    /// Returns what was charged, if the caller knows.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        self.receipt
    }
}

impl fmt::Debug for ChargeRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChargeRequest").field("charges", &self.charges).finish_non_exhaustive()
    }
}

impl fmt::Debug for Charge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{} by {:?}", self.cost, self.key, self.rule.name())
    }
}
