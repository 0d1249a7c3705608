//! The path of a check: rules, lists, storage, metrics.
//!
//! This is the hot path. A request of one rule is the usual case; it needs no list of charges, and with an in-memory
//! storage no allocation.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use smallvec::SmallVec;

use super::{
    active_rule::ActiveRule,
    ask_kind::AskKind,
    error::Error,
    handle::Limiter,
    inner::Inner,
    rule_table::RuleTable,
    rules::{defaults, find},
    stripe::Stripe,
};
use crate::{
    decision::{Decision, Decisions, ListMatch},
    key::Key,
    rule::checked::CheckedRule,
    storage::{Charge, ChargeRequest, Reply, StorageError},
    time::Micros,
    verdict::{Outcome, Verdict},
};

/// A rule of a request, and the cost to charge to it.
type PendingCharge<'a> = (&'a ActiveRule, u64);

impl Limiter {
    /// Checks a request of `key` against the named rules, or against the default rules: every rule of the limiter
    /// except those of [`add_named_rule`](Self::add_named_rule).
    ///
    /// This is the entry point for adapters. `kind` selects whether the request is charged, and what a denial means.
    /// Either all rules are charged, or none is. If `cost` is `None`, each rule charges its own cost. If the storage
    /// answers at once, the reply is ready, and nothing is boxed.
    pub fn begin<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        rules: Option<&[N]>,
        cost: Option<u64>,
        kind: AskKind,
    ) -> Reply<Decisions, Error> {
        self.inner.ask(key, rules, cost, kind)
    }

    /// Returns the rules that [`begin`](Self::begin) would check, if they exist, none is named twice, and there is at
    /// least one.
    ///
    /// # Errors
    ///
    /// Returns [`Error::UnknownRule`], [`Error::RepeatedRule`] or [`Error::NoRules`].
    pub fn validate_rules<N: AsRef<str>>(
        &self,
        rules: Option<&[N]>,
    ) -> Result<Vec<Arc<CheckedRule>>, Error> {
        let all = self.inner.rules.load();
        let pending = select(&all, rules, None)?;
        Ok(pending.iter().map(|(active, _)| Arc::clone(&active.rule)).collect())
    }
}

impl Inner {
    fn ask<N: AsRef<str>>(
        self: &Arc<Self>,
        key: &Key<'_>,
        names: Option<&[N]>,
        cost: Option<u64>,
        kind: AskKind,
    ) -> Reply<Decisions, Error> {
        let rules = self.rules.load();
        if cost == Some(0) {
            return Reply::ready(Err(Error::ZeroCost));
        }
        let unchanged = kind.uses_rules_unchanged();
        // One rule is the usual case, and needs no list.
        match names {
            None if unchanged => {
                if let Some(active) = rules.only().filter(|active| active.is_default) {
                    return self.ask_rules(key, &[charged(active, cost)], kind);
                }
            }
            Some([name]) if unchanged => {
                return match find(&rules, name.as_ref()) {
                    Ok(active) => self.ask_rules(key, &[charged(active, cost)], kind),
                    Err(error) => Reply::ready(Err(error)),
                };
            }
            _ => {}
        }
        match select(&rules, names, cost) {
            Ok(pending) if unchanged => self.ask_rules(key, &pending, kind),
            Ok(pending) => self.ask_adjusted(key, &pending, kind),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// Checks a request of a kind that adjusts the rules.
    fn ask_adjusted(
        self: &Arc<Self>,
        key: &Key<'_>,
        pending: &[PendingCharge<'_>],
        kind: AskKind,
    ) -> Reply<Decisions, Error> {
        let adjusted: SmallVec<[_; 4]> =
            pending.iter().map(|(active, _)| kind.adjusted(active)).collect();
        if adjusted.iter().all(Option::is_none) {
            return self.ask_rules(key, pending, kind);
        }
        let adjusted = pending.iter().zip(adjusted).map(|((active, cost), rule)| {
            let mut active = (*active).clone();
            if let Some(rule) = rule {
                active.rule = rule;
            }
            (active, *cost)
        });
        let adjusted: SmallVec<[_; 4]> = adjusted.collect();
        let pending: SmallVec<[PendingCharge<'_>; 4]> =
            adjusted.iter().map(|(active, cost)| (active, *cost)).collect();
        self.ask_rules(key, &pending, kind)
    }

    fn ask_rules(
        self: &Arc<Self>,
        key: &Key<'_>,
        pending: &[PendingCharge<'_>],
        kind: AskKind,
    ) -> Reply<Decisions, Error> {
        if let Some((list, left)) = self.find_in_lists(key) {
            return Reply::ready(Ok(self.answer_by_list(key, pending, list, left, kind)));
        }
        let reply = match pending {
            [one] => {
                let reply = self.call(&[charge(key, one)], kind);
                if let Some(decisions) = allowed_by_one(one, &reply, kind) {
                    return Reply::ready(Ok(decisions));
                }
                reply
            }
            many => {
                let charges: SmallVec<[_; 4]> = many.iter().map(|one| charge(key, one)).collect();
                self.call(&charges, kind)
            }
        };
        match reply.into_ready() {
            Ok(answer) => Reply::ready(self.answer(key, pending, answer, kind)),
            Err(reply) => {
                // The future must own the rules and the key, since it outlives this call.
                let inner = Arc::clone(self);
                let key = key.clone().into_owned();
                let owned: Vec<_> =
                    pending.iter().map(|(active, cost)| ((*active).clone(), *cost)).collect();
                Reply::pending(async move {
                    let answer = reply.await;
                    let pending: Vec<_> =
                        owned.iter().map(|(active, cost)| (active, *cost)).collect();
                    inner.answer(&key, &pending, answer, kind)
                })
            }
        }
    }

    fn call(&self, charges: &[Charge<'_>], kind: AskKind) -> Reply<Outcome> {
        let request = ChargeRequest::new(charges, self.clock.as_ref());
        match kind {
            AskKind::Peek => self.storage.peek(&request),
            _ => self.storage.acquire(&request),
        }
    }

    pub(super) fn find_in_lists(&self, key: &Key<'_>) -> Option<(ListMatch, Option<Micros>)> {
        // The deny list first, because a key in both lists is denied.
        if let Some(left) = self.deny_list.find(key) {
            return Some((ListMatch::Denied, left));
        }
        self.allow_list.find(key).map(|left| (ListMatch::Allowed, left))
    }

    #[cold]
    fn answer_by_list(
        &self,
        key: &Key<'_>,
        pending: &[PendingCharge<'_>],
        list: ListMatch,
        left: Option<Micros>,
        kind: AskKind,
    ) -> Decisions {
        let decide = |(active, cost): &PendingCharge<'_>| {
            Decision::by_list(Arc::clone(&active.rule), list, *cost, left)
        };
        let decisions = Decisions::new(pending.iter().map(decide).collect());
        self.count(key, pending, &decisions, self.now(), kind);
        decisions
    }

    fn answer(
        &self,
        key: &Key<'_>,
        pending: &[PendingCharge<'_>],
        answer: Result<Outcome, StorageError>,
        kind: AskKind,
    ) -> Result<Decisions, Error> {
        let outcome = answer.map_err(|error| self.failed(error))?;
        let decide = |(active, cost): &PendingCharge<'_>, verdict: &Verdict| {
            Decision::new(Arc::clone(&active.rule), *verdict, *cost, outcome.is_degraded())
        };
        let decisions = match (pending, outcome.verdicts()) {
            ([one], [verdict]) => Decisions::one(decide(one, verdict)),
            (many, verdicts) if many.len() == verdicts.len() => {
                let pairs = many.iter().zip(verdicts);
                Decisions::new(pairs.map(|(one, verdict)| decide(one, verdict)).collect())
            }
            _ => {
                return Err(
                    self.failed(StorageError::other("it did not return a verdict for every rule"))
                );
            }
        };
        self.count(key, pending, &decisions, outcome.at(), kind);
        Ok(decisions)
    }

    fn count(
        &self,
        key: &Key<'_>,
        pending: &[PendingCharge<'_>],
        decisions: &Decisions,
        at: Micros,
        kind: AskKind,
    ) {
        let counts = match kind {
            AskKind::Acquire | AskKind::Shape { .. } => true,
            // A caller that waits checks the same request again; only the final decision counts.
            AskKind::Wait { .. } => decisions.is_allowed(),
            AskKind::Peek => false,
        };
        if !counts {
            return;
        }
        let stripe = Stripe::own();
        let alone = pending.len() == 1;
        if !alone {
            self.counts.add(stripe, true, decisions.is_allowed());
        }
        for ((active, _), decision) in pending.iter().zip(decisions.all()) {
            active.counts.add(stripe, alone, decision.is_allowed());
            if !decision.is_allowed() {
                self.violations.add(key, decision, at);
            }
        }
    }

    #[cold]
    pub(super) fn failed(&self, error: StorageError) -> Error {
        self.errors.fetch_add(1, Relaxed);
        error.into()
    }
}

/// Returns the decision of a single rule that allowed the request: the usual case.
///
/// It builds the decision directly from the storage's answer, by reference. The general path moves both several times,
/// and copies of this size that depend on each other are slow.
#[inline]
fn allowed_by_one(
    (active, cost): &PendingCharge<'_>,
    reply: &Reply<Outcome>,
    kind: AskKind,
) -> Option<Decisions> {
    let Some(Ok(outcome)) = reply.as_ready() else { return None };
    let [verdict] = outcome.verdicts() else { return None };
    if !verdict.allowed {
        return None;
    }
    if kind != AskKind::Peek {
        active.counts.add(Stripe::own(), true, true);
    }
    let rule = Arc::clone(&active.rule);
    Some(Decisions::one(Decision::new(rule, *verdict, *cost, outcome.is_degraded())))
}

/// Looks up the rules, and returns each with its cost.
fn select<'a, N: AsRef<str>>(
    rules: &'a RuleTable,
    names: Option<&[N]>,
    cost: Option<u64>,
) -> Result<SmallVec<[PendingCharge<'a>; 4]>, Error> {
    let mut pending = SmallVec::new();
    if names.is_none() {
        pending.extend(defaults(rules).map(|active| charged(active, cost)));
    }
    let names = names.unwrap_or_default();
    for (i, name) in names.iter().enumerate() {
        let name = name.as_ref();
        if names[..i].iter().any(|before| before.as_ref() == name) {
            return Err(Error::RepeatedRule(name.to_owned()));
        }
        pending.push(charged(find(rules, name)?, cost));
    }
    if pending.is_empty() { Err(Error::NoRules) } else { Ok(pending) }
}

fn charge<'a>(key: &'a Key<'a>, (active, cost): &PendingCharge<'a>) -> Charge<'a> {
    Charge::new(key, &active.rule, *cost)
}

fn charged(active: &ActiveRule, cost: Option<u64>) -> PendingCharge<'_> {
    (active, cost.unwrap_or(active.rule.cost()))
}
