//! The path of a check: rules, lists, storage, metrics.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{
    Error, Inner, Limiter,
    rules::{ActiveRule, find},
};
use crate::{Charge, Decision, Decisions, Key, Listed, Micros, Outcome, Reply, Request, Verdict};

/// A rule of a request, and what it is charged.
type Asked<'a> = SmallVec<[(&'a ActiveRule, u64); 2]>;

/// What is done with a request.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    Acquire,
    Peek,
    /// As acquire, but a denial is no violation: the caller waits and comes again.
    Wait,
}

impl Limiter {
    /// Charges `key` by the rules that are named, or by every rule of the limiter: all or nothing.
    ///
    /// This is what adapters call. The reply is ready at once when the storage answers at once, and
    /// then nothing was boxed. Without `cost` each rule charges its own.
    pub fn begin<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        rules: Option<&[N]>,
        cost: Option<u64>,
    ) -> Reply<Decisions, Error> {
        self.inner.ask(key, rules, cost, Mode::Acquire)
    }

    /// Answers as [`Limiter::begin`] would, but charges nothing, and counts nothing in the metrics.
    pub fn begin_peek<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        rules: Option<&[N]>,
        cost: Option<u64>,
    ) -> Reply<Decisions, Error> {
        self.inner.ask(key, rules, cost, Mode::Peek)
    }
}

impl Inner {
    fn ask<N: AsRef<str>>(
        self: &Arc<Self>,
        key: &Key<'_>,
        names: Option<&[N]>,
        cost: Option<u64>,
        mode: Mode,
    ) -> Reply<Decisions, Error> {
        let rules = self.rules.load();
        match select(&rules, names, cost) {
            Ok(asked) => self.ask_rules(key, asked, mode),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    pub(super) fn ask_rules(
        self: &Arc<Self>,
        key: &Key<'_>,
        asked: Asked<'_>,
        mode: Mode,
    ) -> Reply<Decisions, Error> {
        if let Some((listed, left)) = self.listed(key) {
            return Reply::ready(Ok(self.answer_by_list(key, &asked, listed, left, mode)));
        }
        let charges = asked
            .iter()
            .map(|(active, cost)| Charge::new(key, &active.rule, *cost));
        let request = Request::new(charges, self.clock.as_ref());
        let reply = match mode {
            Mode::Peek => self.storage.peek(&request),
            Mode::Acquire | Mode::Wait => self.storage.acquire(&request),
        };
        match reply.into_ready() {
            Ok(answer) => Reply::ready(match answer {
                Ok(outcome) => Ok(self.answer(key, &asked, &outcome, mode)),
                Err(error) => Err(self.failed(error.into())),
            }),
            Err(pending) => {
                let inner = Arc::clone(self);
                let key = key.clone().into_owned();
                let owned: Vec<_> = asked
                    .iter()
                    .map(|(rule, cost)| ((*rule).clone(), *cost))
                    .collect();
                Reply::pending(async move {
                    let outcome = pending.await.map_err(|error| inner.failed(error.into()))?;
                    let asked: Asked<'_> = owned.iter().map(|(rule, cost)| (rule, *cost)).collect();
                    Ok(inner.answer(&key, &asked, &outcome, mode))
                })
            }
        }
    }

    fn listed(&self, key: &Key<'_>) -> Option<(Listed, Option<Micros>)> {
        if let Some(left) = self.deny_list.find(key) {
            return Some((Listed::Denied, left));
        }
        self.allow_list
            .find(key)
            .map(|left| (Listed::Allowed, left))
    }

    fn answer_by_list(
        &self,
        key: &Key<'_>,
        asked: &Asked<'_>,
        listed: Listed,
        left: Option<Micros>,
        mode: Mode,
    ) -> Decisions {
        let decide = |(active, cost): &(&ActiveRule, u64)| {
            Decision::listed_as(Arc::clone(&active.rule), listed, *cost, left)
        };
        let decisions = Decisions::new(asked.iter().map(decide).collect());
        self.count(key, asked, &decisions, mode);
        decisions
    }

    fn answer(&self, key: &Key<'_>, asked: &Asked<'_>, outcome: &Outcome, mode: Mode) -> Decisions {
        let decide = |((active, cost), verdict): (&(&ActiveRule, u64), &Verdict)| {
            Decision::new(
                Arc::clone(&active.rule),
                *verdict,
                *cost,
                outcome.is_degraded(),
            )
        };
        let all = asked.iter().zip(outcome.verdicts()).map(decide).collect();
        let decisions = Decisions::new(all);
        self.count(key, asked, &decisions, mode);
        decisions
    }

    fn count(&self, key: &Key<'_>, asked: &Asked<'_>, decisions: &Decisions, mode: Mode) {
        if mode == Mode::Peek || (mode == Mode::Wait && !decisions.is_allowed()) {
            return;
        }
        self.counts.add(decisions.is_allowed());
        let mut now = None;
        for ((active, _), decision) in asked.iter().zip(decisions.all()) {
            active.counts.add(decision.is_allowed());
            if !decision.is_allowed() {
                let now = *now.get_or_insert_with(|| self.now());
                self.violations.add(key, decision, now);
            }
        }
    }
}

/// Looks the rules up, and says what each is charged.
fn select<'a, N: AsRef<str>>(
    rules: &'a [ActiveRule],
    names: Option<&[N]>,
    cost: Option<u64>,
) -> Result<Asked<'a>, Error> {
    if cost == Some(0) {
        return Err(Error::ZeroCost);
    }
    let charged = |active: &'a ActiveRule| (active, cost.unwrap_or(active.rule.cost()));
    let Some(names) = names else {
        return match rules {
            [] => Err(Error::NoRules),
            rules => Ok(rules.iter().map(charged).collect()),
        };
    };
    let mut asked = Asked::new();
    for (i, name) in names.iter().enumerate() {
        let name = name.as_ref();
        if names[..i].iter().any(|before| before.as_ref() == name) {
            return Err(Error::RepeatedRule(name.to_owned()));
        }
        asked.push(charged(find(rules, name)?));
    }
    if asked.is_empty() {
        Err(Error::NoRules)
    } else {
        Ok(asked)
    }
}
