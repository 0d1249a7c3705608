//! The decisions that users see: [`Decision`] and [`Decisions`].
//!
//! A request has one charge for each of its rules, and each charge gets one verdict. A decision is a verdict
//! together with its rule.

use std::{mem, slice, sync::Arc, time::Duration};

use crate::{
    algorithm::fitting_behind,
    receipt::Receipt,
    rule::{algorithm::Algorithm, checked::CheckedRule},
    shared_flag::SharedFlag,
    time::Micros,
    verdict::Verdict,
};

/// The list of the limiter that contains the key.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "storages and metrics name both lists; a third would change each of them"
)]
pub enum ListMatch {
    /// The allow list: the request is always allowed, and nothing is charged.
    Allowed,
    /// The deny list: the request is denied, for a time or permanently, and nothing is charged.
    Denied,
}

/// The decision of one rule about one request.
///
/// It reports whether the request is allowed, how much remains, and when to retry.
///
/// # Examples
///
/// ```
/// # use throttle_core::Decision;
/// fn message(decision: &Decision) -> String {
///     if decision.is_allowed() {
///         return format!("{} of {} left", decision.remaining(), decision.limit());
///     }
///     match decision.retry_after() {
///         Some(wait) => format!("retry in {wait:?}"),
///         None => "denied permanently".to_owned(),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Decision {
    rule: Arc<CheckedRule>,
    verdict: Verdict,
    cost: u64,
    degraded: bool,
    listed: Option<ListMatch>,
    /// Whether the decision is about a concurrency limit, not about a rate.
    concurrency: bool,
    /// Whether the charge was refunded or reconciled. Clones share this flag.
    changed: SharedFlag,
}

impl Clone for Decision {
    fn clone(&self) -> Self {
        let changed = match self.verdict.receipt {
            Some(_) => self.changed.share(),
            None => SharedFlag::default(), // nothing to refund
        };
        Self { rule: Arc::clone(&self.rule), changed, ..*self }
    }
}

impl Decision {
    #[inline]
    pub(crate) fn new(rule: Arc<CheckedRule>, verdict: Verdict, cost: u64, degraded: bool) -> Self {
        Self {
            rule,
            verdict,
            cost,
            degraded,
            listed: None,
            concurrency: false,
            changed: SharedFlag::default(),
        }
    }

    /// Creates the decision of a concurrency limit. `rule` has its name and its limit.
    pub(crate) fn of_permits(rule: Arc<CheckedRule>, verdict: Verdict, degraded: bool) -> Self {
        Self {
            rule,
            verdict,
            cost: 1,
            degraded,
            listed: None,
            concurrency: true,
            changed: SharedFlag::default(),
        }
    }

    /// Marks the decision as one about a concurrency limit.
    pub(crate) fn into_concurrency(self) -> Self {
        Self { concurrency: true, ..self }
    }

    pub(crate) fn by_list(
        rule: Arc<CheckedRule>,
        listed: ListMatch,
        cost: u64,
        left: Option<Micros>,
    ) -> Self {
        let allowed = listed == ListMatch::Allowed;
        let verdict = Verdict {
            allowed,
            blocked: !allowed,
            remaining: if allowed { rule.capacity() } else { 0 },
            reset_after: left.unwrap_or_default(),
            retry_after: if allowed { None } else { left },
            ..Verdict::default()
        };
        Self {
            rule,
            verdict,
            cost,
            degraded: false,
            listed: Some(listed),
            concurrency: false,
            changed: SharedFlag::default(),
        }
    }

    /// Returns whether this rule allows the request.
    #[inline]
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict.allowed
    }

    /// Returns the highest cost that one request may ever have: the burst of a bucket, otherwise the limit.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.rule.capacity()
    }

    /// Returns the highest cost that is allowed right now, after this decision.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.verdict.remaining
    }

    /// Returns the time until the whole limit is free again if no more requests are allowed.
    #[inline]
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        self.verdict.reset_after.into()
    }

    /// Returns the shortest wait after which the same cost is allowed, exact to the microsecond.
    ///
    /// `None` if the request is allowed, or if waiting does not help.
    #[inline]
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.verdict.retry_after.map(Duration::from)
    }

    /// Returns the time until the scheduled time of the request. It is zero unless the rule is a leaky bucket.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.verdict.delay.into()
    }

    /// Returns whether the key is blocked, by the rule's block or by the deny list.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.verdict.blocked
    }

    /// Returns whether the storage failed and a substitute made this decision.
    #[inline]
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Returns whether the rule was not enforced: the storage failed, and a substitute allows requests without
    /// counting them.
    #[inline]
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.verdict.unlimited
    }

    /// Returns the list that decided, if one did.
    #[inline]
    #[must_use]
    pub fn listed(&self) -> Option<ListMatch> {
        self.listed
    }

    /// Returns whether the decision is about a [`ConcurrencyLimit`](crate::ConcurrencyLimit), not about a rate.
    ///
    /// Such a decision has no times, since it is not known when a permit is released. Only the name and the limit of
    /// its rule are meaningful.
    #[inline]
    #[must_use]
    pub fn is_concurrency(&self) -> bool {
        self.concurrency
    }

    /// Returns the name of the rule.
    #[inline]
    #[must_use]
    pub fn rule(&self) -> &str {
        self.rule.name()
    }

    /// Returns the rule that decided, as it was at that time.
    #[inline]
    #[must_use]
    pub fn checked_rule(&self) -> &Arc<CheckedRule> {
        &self.rule
    }

    /// Returns the cost of the request.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Returns the verdict of the storage, with times in whole microseconds. If a list decided, this is the verdict of
    /// the list.
    #[inline]
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Returns the receipt of the charge, if the request was charged.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        self.verdict.receipt
    }
}

impl Decision {
    /// Marks the charge as refunded or reconciled, and returns whether it was not marked before.
    pub(crate) fn begin_change(&self) -> bool {
        self.changed.set()
    }

    /// Removes the mark, because the charge was certainly not changed.
    pub(crate) fn cancel_change(&self) {
        self.changed.clear();
    }

    fn rolled_back(&self) -> Self {
        let mut updated = self.reconciled(0);
        if updated.verdict.receipt.take().is_some() {
            updated.verdict.delay = Micros::ZERO;
        }
        updated
    }

    fn reconciled(&self, actual: u64) -> Self {
        let mut updated = self.clone();
        let verdict = &mut updated.verdict;
        if let Some(receipt) = verdict.receipt {
            let remaining = verdict.remaining;
            // A refund within a queue leaves a freed slot, since the requests behind it keep their scheduled times.
            let is_last = self.rule.algorithm() != Algorithm::LeakyBucket
                || remaining == fitting_behind(&self.rule, receipt.fill_level());
            verdict.remaining = match actual < self.cost && !is_last {
                true => remaining.max(self.cost - actual),
                false => remaining.saturating_add(self.cost).saturating_sub(actual),
            };
            verdict.remaining = verdict.remaining.min(self.limit());
            if verdict.remaining == self.limit() {
                verdict.reset_after = Micros::ZERO;
            }
        }
        updated
    }
}

/// The decisions of all rules about one request.
#[derive(Clone, Debug)]
pub struct Decisions(OneOrMore);

/// One decision or several. Only the latter have an index, so the former is as small as a decision.
#[derive(Clone, Debug)]
enum OneOrMore {
    One(Decision),
    More { all: Vec<Decision>, most_restrictive: usize },
}

impl Decisions {
    #[inline]
    pub(crate) fn one(decision: Decision) -> Self {
        Self(OneOrMore::One(decision))
    }

    /// Creates the decisions of a request with several rules; `all` is not empty.
    pub(crate) fn new(all: Vec<Decision>) -> Self {
        let most_restrictive = most_restrictive(&all);
        Self(OneOrMore::More { all, most_restrictive })
    }

    /// Creates the decisions about one request, or returns `None` for an empty iterator.
    #[must_use]
    pub fn of(all: impl IntoIterator<Item = Decision>) -> Option<Self> {
        let all: Vec<_> = all.into_iter().collect();
        (!all.is_empty()).then(|| Self::new(all))
    }

    /// Returns whether every rule allows the request. Only then is it charged.
    #[inline]
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.most_restrictive().is_allowed()
    }

    /// Returns the decision to report to the client.
    ///
    /// For a denied request it is the denial with the longest wait; a permanent denial counts as the
    /// longest. For an allowed request it is the decision with the least remaining, and among equals the one with
    /// the longest reset. Decisions about rates take precedence over those about concurrency.
    #[inline]
    #[must_use]
    pub fn most_restrictive(&self) -> &Decision {
        match &self.0 {
            OneOrMore::One(one) => one,
            OneOrMore::More { all, most_restrictive } => &all[*most_restrictive],
        }
    }

    /// Returns all decisions, in the order of the rules.
    ///
    /// If another rule denies the request, a rule that would have allowed it has an allowed decision, but was not
    /// charged.
    #[inline]
    #[must_use]
    pub fn all(&self) -> &[Decision] {
        match &self.0 {
            OneOrMore::One(one) => slice::from_ref(one),
            OneOrMore::More { all, .. } => all,
        }
    }

    /// Returns the time until the request's scheduled time: the longest delay of its rules, and zero if it is denied.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let longest = || self.all().iter().map(Decision::delay).max().unwrap_or_default();
        if self.is_allowed() { longest() } else { Duration::ZERO }
    }

    /// Returns the decisions to report after the charges that `is_refunded` selects were refunded.
    ///
    /// They describe the state of the original decision without these charges. They do not include later charges
    /// of other requests, and `reset_after` is an upper bound unless the whole limit is free.
    #[must_use]
    pub fn rolled_back(&self, is_refunded: impl Fn(&Decision) -> bool) -> Self {
        let update =
            |one: &Decision| if is_refunded(one) { one.rolled_back() } else { one.clone() };
        Self::new(self.all().iter().map(update).collect())
    }

    /// Returns the decisions to report after the charges that `changes` selects were reconciled with the actual
    /// cost, in the same way as [`rolled_back`](Self::rolled_back).
    #[must_use]
    pub fn reconciled(&self, actual: u64, changes: impl Fn(&Decision) -> bool) -> Self {
        let update =
            |one: &Decision| if changes(one) { one.reconciled(actual) } else { one.clone() };
        Self::new(self.all().iter().map(update).collect())
    }

    pub(crate) fn into_most_restrictive(self) -> Decision {
        match self.0 {
            OneOrMore::One(one) => one,
            OneOrMore::More { mut all, most_restrictive } => all.swap_remove(most_restrictive),
        }
    }
}

impl Extend<Decision> for Decisions {
    fn extend<I: IntoIterator<Item = Decision>>(&mut self, more: I) {
        let mut more: Vec<_> = more.into_iter().collect();
        if more.is_empty() {
            return;
        }
        let none = OneOrMore::More { all: Vec::new(), most_restrictive: 0 };
        let mut all = match mem::replace(&mut self.0, none) {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More { all, .. } => all,
        };
        all.append(&mut more);
        *self = Self::new(all);
    }
}

fn most_restrictive(all: &[Decision]) -> usize {
    let mut best = 0;
    for (i, decision) in all.iter().enumerate().skip(1) {
        if is_more_restrictive(decision, &all[best]) {
            best = i;
        }
    }
    best
}

fn is_more_restrictive(one: &Decision, two: &Decision) -> bool {
    let concurrency = (one.concurrency, two.concurrency);
    let (one, two) = (&one.verdict, &two.verdict);
    match (one.allowed, two.allowed) {
        (false, true) => true,
        (true, false) => false,
        _ if concurrency.0 != concurrency.1 => concurrency.1,
        (false, false) => {
            let wait = |v: &Verdict| v.retry_after.unwrap_or(Micros::MAX);
            wait(one) > wait(two)
        }
        (true, true) => {
            let rank = |v: &Verdict| (v.remaining, std::cmp::Reverse(v.reset_after));
            rank(one) < rank(two)
        }
    }
}
