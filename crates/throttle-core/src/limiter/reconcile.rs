//! Charges that are given back, or settled to what a request turned out to cost.

use std::sync::Arc;

use super::{error::Error, handle::Limiter, rules};
use crate::{
    decision::Decision,
    key::Key,
    receipt::Receipt,
    rule::checked::CheckedRule,
    storage::{Charge, ChargeRequest, Refund},
};

/// A rule that was charged, and how much.
struct Charged {
    rule: Arc<CheckedRule>,
    receipt: Receipt,
    cost: u64,
}

impl Limiter {
    /// Gives back what decisions charged to `key`, to just the windows and moments that were charged:
    /// a later window, another request's charge are not touched.
    ///
    /// A decision is given back or [reconciled](Self::reconcile) once: a second time it does nothing, also after an error,
    /// since the storage may have done it. Its clones count as the same decision, such as those that a handler and
    /// the middleware around it hold.
    ///
    /// A rule that was removed since, or replaced by one that counts otherwise, gets nothing back. A key that was
    /// [reset](Self::reset) since does not remember who was charged before: do not give back to it what
    /// was charged before the reset.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when the storage could not do it.
    pub async fn rollback<'k>(
        &self,
        key: impl Into<Key<'k>>,
        decisions: &[Decision],
    ) -> Result<(), Error> {
        let key = key.into().into_owned();
        let charged = self.charged(decisions);
        self.refund_all(&key, charged.iter().map(|one| (one, one.cost))).await
    }

    /// Changes what decisions charged to `key` to what the request turned out to cost, by each of their
    /// rules, and returns how much of it found no room.
    ///
    /// What was charged too much is given back as by [`Limiter::rollback`]. What was charged too little
    /// is charged now, by each rule as far as its limit has room, but neither denied nor counted in the
    /// metrics; what finds no room is forgiven. While a key is shut nothing more is charged to it. The
    /// rule with the least room says what is returned. A decision that was given back or settled is not changed again.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when the storage could not do it, or not all of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn call() -> u64 { 900 }
    /// # async fn example(limiter: throttle_core::Limiter) -> Result<(), throttle_core::Error> {
    /// let reserved = limiter.check_cost("user:42", "tokens", 1_000).await?;
    /// if reserved.is_allowed() {
    ///     let tokens = call().await;
    ///     limiter.reconcile("user:42", &[reserved], tokens).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn reconcile<'k>(
        &self,
        key: impl Into<Key<'k>>,
        decisions: &[Decision],
        actual: u64,
    ) -> Result<u64, Error> {
        let key = key.into().into_owned();
        let charged = self.charged(decisions);
        let too_much = charged.iter().map(|one| (one, one.cost.saturating_sub(actual)));
        self.refund_all(&key, too_much).await?;
        let mut no_room = 0;
        for one in &charged {
            let excess = actual.saturating_sub(one.cost);
            if excess > 0 {
                let found = self.charge_up_to(&key, &one.rule, excess).await?;
                no_room = no_room.max(excess - found);
            }
        }
        Ok(no_room)
    }

    /// Returns what was charged and not changed yet, by rules that still count so.
    fn charged(&self, decisions: &[Decision]) -> Vec<Charged> {
        let rules = self.inner.rules.load();
        let still_counts = |decision: &Decision| {
            let receipt = decision.receipt()?;
            let rule = &rules::find(&rules, decision.rule()).ok()?.rule;
            let then = decision.checked_rule();
            let same = rule.algorithm() == then.algorithm() && rule.window() == then.window();
            let cost = decision.cost();
            (same && decision.change_once()).then(|| Charged {
                rule: Arc::clone(rule),
                receipt,
                cost,
            })
        };
        decisions.iter().filter_map(still_counts).collect()
    }

    /// Gives back so much of each.
    async fn refund_all(
        &self,
        key: &Key<'_>,
        charged: impl Iterator<Item = (&Charged, u64)>,
    ) -> Result<(), Error> {
        let reply = {
            let refunds: Vec<_> = charged
                .filter(|(_, cost)| *cost > 0)
                .map(|(one, cost)| {
                    Refund::new(Charge::new(key, &one.rule, cost), Some(one.receipt))
                })
                .collect();
            if refunds.is_empty() {
                return Ok(());
            }
            self.inner.storage.refund(&refunds, self.inner.clock.as_ref())
        };
        Ok(reply.await?)
    }

    /// Charges what there is room for, and returns how much that was.
    async fn charge_up_to(
        &self,
        key: &Key<'_>,
        rule: &CheckedRule,
        cost: u64,
    ) -> Result<u64, Error> {
        /// Others may take the room that was seen, and that of a queue may lie in pieces.
        const TRIES: usize = 16;
        let rule = Arc::new(rule.without_block()); // a denial shuts nobody out
        let (mut found, mut asked) = (0, cost.min(rule.capacity()));
        for _ in 0..TRIES {
            if asked == 0 {
                break;
            }
            let reply = {
                let charge = [Charge::new(key, &rule, asked)];
                self.inner.storage.acquire(&ChargeRequest::new(&charge, self.inner.clock.as_ref()))
            };
            let outcome = reply.await?;
            let Some(verdict) = outcome.verdicts().first() else { break };
            asked = match (verdict.allowed, verdict.blocked) {
                (true, _) => {
                    found += asked;
                    asked.min(verdict.remaining).min(cost - found)
                }
                (false, false) if verdict.remaining < asked => verdict.remaining,
                (false, false) => asked / 2,
                (false, true) => break,
            };
        }
        Ok(found)
    }
}
