//! Waiting for one's turn instead of being refused.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use super::{
    check::{AskKind, PendingCharge, select},
    error::Error,
    handle::Limiter,
    rules::ActiveRule,
};
use crate::{
    decision::{Decision, Decisions},
    key::Key,
    rule::checked::CheckedRule,
    storage::Reply,
};

impl Limiter {
    /// Waits until a rule admits what one request costs, charges it, and returns the decision: for
    /// outgoing calls.
    ///
    /// By a leaky bucket it also waits for the request's turn, so that calls leave evenly. It waits
    /// by the limiter's clock, on any executor; to give up earlier, wrap it in a timeout: a wait that
    /// is dropped has charged nothing, except for a leaky bucket's turn. Waiters are not queued: of
    /// several, any may be the next. Waiting is no violation, and shuts nobody out.
    ///
    /// It notices at once that this limiter replaces or removes the rule or resets the key, and within a second
    /// what else makes room: other limiters and servers that reset the key, refunds, and lists. It never passes
    /// before the rule allows it as it is then: of a leaky bucket it keeps its place in the queue when the rule is
    /// replaced, and takes another one when the key is reset.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check`]. A denial that no wait lifts is returned as it is.
    pub async fn until_ready<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rule: &str,
    ) -> Result<Decision, Error> {
        let key = key.into();
        loop {
            let since = self.change_count();
            let decisions = self.begin_waiting(&key, Some(&[rule]), None, Duration::MAX).await?;
            if decisions.is_allowed() {
                let waited = self.wait_until_scheduled(&key, &decisions, Duration::MAX, since);
                let Err(lost) = waited.await else { return Ok(decisions.into_most_restrictive()) };
                if lost.is_refundable(decisions.most_restrictive()) {
                    self.rollback(&key, decisions.all()).await?;
                }
                continue;
            }
            match decisions.most_restrictive().retry_after() {
                Some(wait) => _ = self.wait_to_ask_again(&key, rule, wait, since).await,
                None => return Ok(decisions.into_most_restrictive()),
            }
        }
    }

    /// Charges as [`Limiter::begin`] does, for callers who wait where they are denied and ask again:
    /// a denial is not counted, is no violation, and shuts nobody out. A leaky bucket denies whose turn is
    /// further away than `longest`.
    pub fn begin_waiting<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        rules: Option<&[N]>,
        cost: Option<u64>,
        longest: Duration,
    ) -> Reply<Decisions, Error> {
        self.begin_changed(key, rules, cost, AskKind::Wait, |active| {
            let bound = active.rule.with_longest_delay(longest);
            let changes = bound.max_delay().or(bound.block()).is_some();
            changes.then(|| Arc::new(bound.without_block()))
        })
    }

    /// Charges as [`Limiter::begin`] does, for callers who let requests wait for their turn by a leaky bucket:
    /// it denies whose turn is further away than `longest`.
    pub fn begin_shaped<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        rules: Option<&[N]>,
        cost: Option<u64>,
        longest: Duration,
    ) -> Reply<Decisions, Error> {
        self.begin_changed(key, rules, cost, AskKind::Acquire, |active| active.shaped(longest))
    }

    /// Asks by rules that are changed for this request.
    fn begin_changed<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        rules: Option<&[N]>,
        cost: Option<u64>,
        kind: AskKind,
        change: impl Fn(&ActiveRule) -> Option<Arc<CheckedRule>>,
    ) -> Reply<Decisions, Error> {
        if cost == Some(0) {
            return Reply::ready(Err(Error::ZeroCost));
        }
        let active = self.inner.rules.load();
        let asked = match select(&active, rules, cost) {
            Ok(asked) => asked,
            Err(error) => return Reply::ready(Err(error)),
        };
        let changed: SmallVec<[_; 4]> = asked.iter().map(|(one, _)| change(one)).collect();
        if changed.iter().all(Option::is_none) {
            return self.inner.ask_rules(key, &asked, kind);
        }
        let changed = asked.iter().zip(changed).map(|((active, cost), rule)| {
            let mut active = (*active).clone();
            if let Some(rule) = rule {
                active.rule = rule;
            }
            (active, *cost)
        });
        let changed: SmallVec<[_; 4]> = changed.collect();
        let asked: SmallVec<[PendingCharge<'_>; 4]> =
            changed.iter().map(|(active, cost)| (active, *cost)).collect();
        self.inner.ask_rules(key, &asked, kind)
    }
}
