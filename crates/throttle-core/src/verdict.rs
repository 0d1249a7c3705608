//! The answer of a storage to a request: a [`Verdict`] for each charge, together an [`Outcome`].

use std::slice;

use crate::{receipt::Receipt, time::Micros};

/// The answer of one rule to one request.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "backends construct it field by field")]
pub struct Verdict {
    /// Whether this rule allows the request.
    pub allowed: bool,
    /// Whether the key is blocked.
    pub blocked: bool,
    /// Whether the rule is not enforced: the storage failed, and a substitute allows requests without counting them.
    pub unlimited: bool,
    /// The highest cost that is allowed right now, after this decision.
    pub remaining: u64,
    /// The time until the whole limit is free again.
    pub reset_after: Micros,
    /// The shortest wait after which the same cost is allowed; `None` if the request is allowed, or if waiting does not
    /// help.
    pub retry_after: Option<Micros>,
    /// The time until the request's scheduled time; zero except for a leaky bucket.
    pub delay: Micros,
    /// The receipt of the charge, if the whole request was allowed.
    pub receipt: Option<Receipt>,
}

/// The answers of all rules to one request, in the order of its charges.
#[derive(Clone, Default, Debug)]
pub struct Outcome {
    verdicts: Few<Verdict>,
    at: Micros,
    degraded: bool,
}

impl Outcome {
    /// Creates an outcome from the verdicts, one for each charge of the request, decided at the time `at`.
    pub fn new(verdicts: impl IntoIterator<Item = Verdict>, at: Micros) -> Self {
        Self { verdicts: Few::Many(verdicts.into_iter().collect()), at, degraded: false }
    }

    /// Creates the outcome of a request with a single charge.
    #[inline]
    #[must_use]
    pub fn one(verdict: Verdict, at: Micros) -> Self {
        Self { verdicts: Few::One(verdict), at, degraded: false }
    }

    /// Returns the time at which the storage decided.
    #[must_use]
    pub fn at(&self) -> Micros {
        self.at
    }

    /// Marks the outcome as decided by a substitute, because the storage itself failed.
    #[must_use]
    pub fn degraded(mut self) -> Self {
        self.degraded = true;
        self
    }

    /// Returns the verdicts.
    #[inline]
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        self.verdicts.as_slice()
    }

    /// Returns whether every rule allows the request.
    #[inline]
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.allowed)
    }

    /// Returns whether a substitute decided instead of the storage.
    #[inline]
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }
}

/// One value inline, which is the usual case and needs no allocation, or several.
#[derive(Clone, Debug)]
enum Few<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    #[inline]
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}
