//! The path of a check: rules, lists, storage, metrics.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use smallvec::SmallVec;

use super::{
    ask_kind::AskKind,
    error::Error,
    handle::Limiter,
    inner::Inner,
    metrics::own_stripe,
    rules::{ActiveRule, find},
};
use crate::{
    decision::{Decision, Decisions, ListMatch, Outcome, Verdict},
    key::Key,
    storage::{Charge, ChargeRequest, Reply, StorageError},
    time::Micros,
};

/// A rule of a request, and what it is charged.
type PendingCharge<'a> = (&'a ActiveRule, u64);

impl Limiter {
    /// Asks the named rules, or every rule of the limiter, about a request of `key`: the entry point for adapters.
    ///
    /// `kind` selects what happens to the request. It is charged by all rules or by none. Without `cost`, each rule
    /// charges its own cost. If the storage answers at once, the reply is ready and nothing is boxed.
    pub fn begin<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        rules: Option<&[N]>,
        cost: Option<u64>,
        kind: AskKind,
    ) -> Reply<Decisions, Error> {
        self.inner.ask(key, rules, cost, kind)
    }

    /// Says whether the rules that are named can be asked: known, each once, and at least one.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRule`], [`Error::RepeatedRule`] or [`Error::NoRules`].
    pub fn validate_rules<N: AsRef<str>>(&self, rules: Option<&[N]>) -> Result<(), Error> {
        select(&self.inner.rules.load(), rules, None).map(|_| ())
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
        match (names, &rules[..]) {
            (None, [active]) if unchanged => {
                return self.ask_rules(key, &[charged(active, cost)], kind);
            }
            (Some([name]), rules) if unchanged => {
                return match find(rules, name.as_ref()) {
                    Ok(active) => self.ask_rules(key, &[charged(active, cost)], kind),
                    Err(error) => Reply::ready(Err(error)),
                };
            }
            _ => {}
        }
        match select(&rules, names, cost) {
            Ok(asked) if unchanged => self.ask_rules(key, &asked, kind),
            Ok(asked) => self.ask_adjusted(key, &asked, kind),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// Asks rules that this kind of request adjusts.
    fn ask_adjusted(
        self: &Arc<Self>,
        key: &Key<'_>,
        asked: &[PendingCharge<'_>],
        kind: AskKind,
    ) -> Reply<Decisions, Error> {
        let adjusted: SmallVec<[_; 4]> =
            asked.iter().map(|(active, _)| kind.adjusted(active)).collect();
        if adjusted.iter().all(Option::is_none) {
            return self.ask_rules(key, asked, kind);
        }
        let adjusted = asked.iter().zip(adjusted).map(|((active, cost), rule)| {
            let mut active = (*active).clone();
            if let Some(rule) = rule {
                active.rule = rule;
            }
            (active, *cost)
        });
        let adjusted: SmallVec<[_; 4]> = adjusted.collect();
        let asked: SmallVec<[PendingCharge<'_>; 4]> =
            adjusted.iter().map(|(active, cost)| (active, *cost)).collect();
        self.ask_rules(key, &asked, kind)
    }

    fn ask_rules(
        self: &Arc<Self>,
        key: &Key<'_>,
        asked: &[PendingCharge<'_>],
        kind: AskKind,
    ) -> Reply<Decisions, Error> {
        if let Some((listed, left)) = self.listed(key) {
            return Reply::ready(Ok(self.answer_by_list(key, asked, listed, left, kind)));
        }
        let reply = match asked {
            [one] => {
                let reply = self.call(&[charge(key, one)], kind);
                if let Some(decisions) = one_admitted(one, &reply, kind) {
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
            Ok(answer) => Reply::ready(self.answer(key, asked, answer, kind)),
            Err(pending) => {
                let inner = Arc::clone(self);
                let key = key.clone().into_owned();
                let owned: Vec<_> =
                    asked.iter().map(|(active, cost)| ((*active).clone(), *cost)).collect();
                Reply::pending(async move {
                    let answer = pending.await;
                    let asked: Vec<_> =
                        owned.iter().map(|(active, cost)| (active, *cost)).collect();
                    inner.answer(&key, &asked, answer, kind)
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

    pub(super) fn listed(&self, key: &Key<'_>) -> Option<(ListMatch, Option<Micros>)> {
        if let Some(left) = self.deny_list.find(key) {
            return Some((ListMatch::Denied, left));
        }
        self.allow_list.find(key).map(|left| (ListMatch::Allowed, left))
    }

    #[cold]
    fn answer_by_list(
        &self,
        key: &Key<'_>,
        asked: &[PendingCharge<'_>],
        listed: ListMatch,
        left: Option<Micros>,
        kind: AskKind,
    ) -> Decisions {
        let decide = |(active, cost): &PendingCharge<'_>| {
            Decision::by_list(Arc::clone(&active.rule), listed, *cost, left)
        };
        let decisions = Decisions::new(asked.iter().map(decide).collect());
        self.count(key, asked, &decisions, self.now(), kind);
        decisions
    }

    fn answer(
        &self,
        key: &Key<'_>,
        asked: &[PendingCharge<'_>],
        answer: Result<Outcome, StorageError>,
        kind: AskKind,
    ) -> Result<Decisions, Error> {
        let outcome = answer.map_err(|error| self.failed(error))?;
        let decide = |(active, cost): &PendingCharge<'_>, verdict: &Verdict| {
            Decision::new(Arc::clone(&active.rule), *verdict, *cost, outcome.is_degraded())
        };
        let decisions = match (asked, outcome.verdicts()) {
            ([one], [verdict]) => Decisions::one(decide(one, verdict)),
            (many, verdicts) if many.len() == verdicts.len() => {
                let pairs = many.iter().zip(verdicts);
                Decisions::new(pairs.map(|(one, verdict)| decide(one, verdict)).collect())
            }
            _ => return Err(self.failed(StorageError::other("it did not answer for every rule"))),
        };
        self.count(key, asked, &decisions, outcome.at(), kind);
        Ok(decisions)
    }

    fn count(
        &self,
        key: &Key<'_>,
        asked: &[PendingCharge<'_>],
        decisions: &Decisions,
        at: Micros,
        kind: AskKind,
    ) {
        let counts = match kind {
            AskKind::Acquire | AskKind::Shape { .. } => true,
            AskKind::Wait { .. } => decisions.is_allowed(),
            AskKind::Peek => false,
        };
        if !counts {
            return;
        }
        let stripe = own_stripe();
        let alone = asked.len() == 1;
        if !alone {
            self.counts.add(stripe, true, decisions.is_allowed());
        }
        for ((active, _), decision) in asked.iter().zip(decisions.all()) {
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

/// Answers and counts where one rule was asked and admits: the usual case.
///
/// It makes of the storage's answer the decision where that is to be, without moving either: copies
/// that follow each other at once wait for each other.
#[inline]
fn one_admitted(
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
        active.counts.add(own_stripe(), true, true);
    }
    let rule = Arc::clone(&active.rule);
    Some(Decisions::one(Decision::new(rule, *verdict, *cost, outcome.is_degraded())))
}

/// Looks the rules up, and says what each is charged.
fn select<'a, N: AsRef<str>>(
    rules: &'a [ActiveRule],
    names: Option<&[N]>,
    cost: Option<u64>,
) -> Result<SmallVec<[PendingCharge<'a>; 4]>, Error> {
    let Some(names) = names else {
        return match rules {
            [] => Err(Error::NoRules),
            rules => Ok(rules.iter().map(|active| charged(active, cost)).collect()),
        };
    };
    let mut asked = SmallVec::new();
    for (i, name) in names.iter().enumerate() {
        let name = name.as_ref();
        if names[..i].iter().any(|before| before.as_ref() == name) {
            return Err(Error::RepeatedRule(name.to_owned()));
        }
        asked.push(charged(find(rules, name)?, cost));
    }
    if asked.is_empty() { Err(Error::NoRules) } else { Ok(asked) }
}

fn charge<'a>(key: &'a Key<'a>, (active, cost): &PendingCharge<'a>) -> Charge<'a> {
    Charge::new(key, &active.rule, *cost)
}

fn charged(active: &ActiveRule, cost: Option<u64>) -> PendingCharge<'_> {
    (active, cost.unwrap_or(active.rule.cost()))
}
