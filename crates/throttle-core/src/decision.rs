//! What a storage answers ([`Verdict`], [`Outcome`]) and what users see ([`Decision`], [`Decisions`]).

use std::{mem, slice, sync::Arc, time::Duration};

use crate::{
    algorithm::turns_behind,
    receipt::Receipt,
    rule::{algorithm::Algorithm, checked::CheckedRule},
    shared_flag::SharedFlag,
    time::Micros,
};

/// Gives one rule's answer to one request.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "backends make it, field by field")]
pub struct Verdict {
    /// Whether this rule admits the request.
    pub allowed: bool,
    /// Whether the key is shut.
    pub blocked: bool,
    /// How much could be admitted right now, after this decision.
    pub remaining: u64,
    /// How long until all of the limit is free again.
    pub reset_after: Micros,
    /// When denied: the shortest wait after which the same cost is admitted, if any wait helps.
    pub retry_after: Option<Micros>,
    /// Leaky bucket: how far away the request's turn is.
    pub delay: Micros,
    /// What was charged, when the whole request was admitted.
    pub receipt: Option<Receipt>,
}

/// Gives all rules' answers to one request, in the order of its charges.
#[derive(Clone, Default, Debug)]
pub struct Outcome {
    verdicts: Few<Verdict>,
    at: Micros,
    degraded: bool,
}

impl Outcome {
    /// Collects the verdicts, one for each charge of the request, which were given at `at`.
    pub fn new(verdicts: impl IntoIterator<Item = Verdict>, at: Micros) -> Self {
        Self { verdicts: Few::Many(verdicts.into_iter().collect()), at, degraded: false }
    }

    /// Takes the verdict of a request of one rule.
    #[inline]
    #[must_use]
    pub fn one(verdict: Verdict, at: Micros) -> Self {
        Self { verdicts: Few::One(verdict), at, degraded: false }
    }

    /// Returns the time by which the storage decided.
    #[must_use]
    pub fn at(&self) -> Micros {
        self.at
    }

    /// Marks the outcome as one that the storage itself did not give, because it could not.
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

    /// Returns whether every rule admits.
    #[inline]
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.allowed)
    }

    /// Returns whether something else than the storage answered.
    #[inline]
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }
}

/// Holds one in place, which is the usual case and so allocates nothing, or several.
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

/// Says that a key was found in one of the limiter's lists.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "storages and metrics name both lists; a third would change each of them"
)]
pub enum ListMatch {
    /// It may always pass; nothing was charged.
    Allowed,
    /// It may not pass, for now or for good; nothing was charged.
    Denied,
}

/// Tells whether a request may pass, by one rule, and what to tell its client.
///
/// # Examples
///
/// ```
/// # use throttle_core::Decision;
/// fn tell(decision: &Decision) -> String {
///     if decision.is_allowed() {
///         return format!("{} of {} left", decision.remaining(), decision.limit());
///     }
///     match decision.retry_after() {
///         Some(wait) => format!("come back in {wait:?}"),
///         None => "no wait helps".to_owned(),
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
    /// Whether it is about places, not about a rate.
    places: bool,
    /// Whether its charge was refunded or reconciled; its clones share this.
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
            places: false,
            changed: SharedFlag::default(),
        }
    }

    /// Tells of a place among those that `rule` names.
    pub(crate) fn of_permits(
        rule: Arc<CheckedRule>,
        in_use: u64,
        allowed: bool,
        degraded: bool,
    ) -> Self {
        let remaining = rule.limit().saturating_sub(in_use);
        let verdict = Verdict { allowed, remaining, ..Verdict::default() };
        Self {
            rule,
            verdict,
            cost: 1,
            degraded,
            listed: None,
            places: true,
            changed: SharedFlag::default(),
        }
    }

    /// Says that it is about places.
    pub(crate) fn of_places(self) -> Self {
        Self { places: true, ..self }
    }

    pub(crate) fn listed_as(
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
            places: false,
            changed: SharedFlag::default(),
        }
    }

    /// Returns whether this rule admits the request.
    #[inline]
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict.allowed
    }

    /// Returns the most that one request could ever cost: the burst of a bucket, else the limit.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.rule.capacity()
    }

    /// Returns how much could be admitted right now, after this decision.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.verdict.remaining
    }

    /// Returns how long until all of the limit is free again if nothing more is admitted.
    #[inline]
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        self.verdict.reset_after.into()
    }

    /// Returns, for a denial, the shortest wait after which the same cost is admitted, to the
    /// microsecond; none when no wait helps.
    #[inline]
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.verdict.retry_after.map(Duration::from)
    }

    /// Returns how far away the request's turn is; zero unless the rule is a leaky bucket.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.verdict.delay.into()
    }

    /// Returns whether the key is shut, by the rule's block or by the deny list.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.verdict.blocked
    }

    /// Returns whether something else than the storage answered, because the storage could not.
    #[inline]
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Returns the list that decided, if one did.
    #[inline]
    #[must_use]
    pub fn listed(&self) -> Option<ListMatch> {
        self.listed
    }

    /// Returns whether it is about how many requests are under way ([`ConcurrencyLimit`](crate::ConcurrencyLimit)),
    /// not about how many come in a time: then nobody knows when a place is free, and of the rule only
    /// name and limit mean something.
    #[inline]
    #[must_use]
    pub fn is_concurrency(&self) -> bool {
        self.places
    }

    /// Returns the name of the rule.
    #[inline]
    #[must_use]
    pub fn rule(&self) -> &str {
        self.rule.name()
    }

    /// Returns the rule that was asked, as it was then.
    #[inline]
    #[must_use]
    pub fn checked_rule(&self) -> &Arc<CheckedRule> {
        &self.rule
    }

    /// Returns what was asked for.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Returns what the storage answered, in whole microseconds; of a key in one of the lists, what
    /// the list says.
    #[inline]
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Returns what was charged, if anything was.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        self.verdict.receipt
    }
}

impl Decision {
    /// Marks it as refunded or reconciled, and returns whether it was not before.
    pub(crate) fn begin_change(&self) -> bool {
        self.changed.set()
    }

    /// Removes that mark: the charge was certainly not changed.
    pub(crate) fn cancel_change(&self) {
        self.changed.clear();
    }

    fn rolled_back(&self) -> Self {
        let mut told = self.settled(0);
        if told.verdict.receipt.take().is_some() {
            told.verdict.delay = Micros::ZERO;
        }
        told
    }

    fn settled(&self, actual: u64) -> Self {
        let mut told = self.clone();
        let verdict = &mut told.verdict;
        if let Some(receipt) = verdict.receipt {
            let remaining = verdict.remaining;
            // What is freed within a queue is a freed slot: those behind keep their scheduled times.
            let is_last = self.rule.algorithm() != Algorithm::LeakyBucket
                || remaining == turns_behind(&self.rule, receipt.fill_level());
            verdict.remaining = match actual < self.cost && !is_last {
                true => remaining.max(self.cost - actual),
                false => remaining.saturating_add(self.cost).saturating_sub(actual),
            };
            verdict.remaining = verdict.remaining.min(self.limit());
            if verdict.remaining == self.limit() {
                verdict.reset_after = Micros::ZERO;
            }
        }
        told
    }
}

/// Tells whether a request may pass, by all of its rules.
#[derive(Clone, Debug)]
pub struct Decisions(OneOrMore);

/// Has no index where there is one decision, so that it is as small as that.
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

    /// `all` is not empty.
    pub(crate) fn new(all: Vec<Decision>) -> Self {
        let most_restrictive = most_restrictive(&all);
        Self(OneOrMore::More { all, most_restrictive })
    }

    /// Collects decisions about one request; none where there are none.
    #[must_use]
    pub fn of(all: impl IntoIterator<Item = Decision>) -> Option<Self> {
        let all: Vec<_> = all.into_iter().collect();
        (!all.is_empty()).then(|| Self::new(all))
    }

    /// Returns whether every rule admits, and so whether the request was charged.
    #[inline]
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.most_restrictive().is_allowed()
    }

    /// Returns the decision to tell the client about: of a refusal the denial with the longest wait
    /// (no wait that helps is the longest), otherwise the one with the least remaining (of equals the
    /// one with the longest reset). What is about requests under way speaks after what is about rates.
    #[inline]
    #[must_use]
    pub fn most_restrictive(&self) -> &Decision {
        match &self.0 {
            OneOrMore::One(one) => one,
            OneOrMore::More { all, most_restrictive } => &all[*most_restrictive],
        }
    }

    /// Returns all decisions, in the order in which the rules were asked.
    ///
    /// When another rule denies, a rule that would have admitted says so, and was not charged.
    #[inline]
    #[must_use]
    pub fn all(&self) -> &[Decision] {
        match &self.0 {
            OneOrMore::One(one) => slice::from_ref(one),
            OneOrMore::More { all, .. } => all,
        }
    }

    /// Returns how far away the request's turn is: the longest of its rules' delays, zero for a
    /// request that is denied.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let longest = || self.all().iter().map(Decision::delay).max().unwrap_or_default();
        if self.is_allowed() { longest() } else { Duration::ZERO }
    }

    /// Returns what to tell of a request whose charge was given back by rules that `goes_back` names: what it
    /// took is there again.
    ///
    /// It is the state of the decision without the charge; what other requests did since is not in
    /// it, and `reset_after` is an upper bound unless nothing else is held.
    #[must_use]
    pub fn rolled_back(&self, goes_back: impl Fn(&Decision) -> bool) -> Self {
        let tell = |one: &Decision| if goes_back(one) { one.rolled_back() } else { one.clone() };
        Self::new(self.all().iter().map(tell).collect())
    }

    /// Returns what to tell of a request that was settled to what it turned out to cost, by rules that `changes`
    /// names, in the way of [`rolled_back`](Self::rolled_back).
    #[must_use]
    pub fn settled(&self, actual: u64, changes: impl Fn(&Decision) -> bool) -> Self {
        let tell = |one: &Decision| if changes(one) { one.settled(actual) } else { one.clone() };
        Self::new(self.all().iter().map(tell).collect())
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
        if speaks_before(decision, &all[best]) {
            best = i;
        }
    }
    best
}

fn speaks_before(one: &Decision, two: &Decision) -> bool {
    let places = (one.places, two.places);
    let (one, two) = (&one.verdict, &two.verdict);
    match (one.allowed, two.allowed) {
        (false, true) => true,
        (true, false) => false,
        _ if places.0 != places.1 => places.1,
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
