//! Charges that are given back, or settled to what a request turned out to cost.

use std::sync::Arc;

use super::{error::Error, handle::Limiter, rules};
use crate::{
    decision::Decision,
    key::Key,
    receipt::Receipt,
    rule::checked::CheckedRule,
    storage::{Charge, ChargeRequest, Effect, Refund, StorageError},
};

/// A decision that is marked as changed, and the rule that was charged.
struct Charged<'a> {
    decision: &'a Decision,
    rule: Arc<CheckedRule>,
    receipt: Receipt,
}

impl Limiter {
    /// Gives back what decisions charged to `key`, to just the windows and moments that were charged:
    /// a later window, another request's charge are not touched.
    ///
    /// A decision is refunded or [reconciled](Self::reconcile) once: a second call does nothing, also while the first is
    /// pending. Its clones count as the same decision, such as those that a handler and the middleware around it
    /// hold. After an error of a call that was certainly not carried out ([`Effect::None`]) it can be refunded again;
    /// after another error, or if this future is dropped, it cannot, since the storage may have refunded it.
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
        self.refund_all(&key, &charged, 0).await
    }

    /// Changes what decisions charged to `key` to what the request turned out to cost, by each of their
    /// rules, and returns how much of it found no room.
    ///
    /// What was charged too much is given back as by [`Limiter::rollback`]. What was charged too little
    /// is charged now, by each rule as far as its limit has room, but neither denied nor counted in the
    /// metrics; what finds no room is forgiven. While a key is shut nothing more is charged to it. The
    /// rule with the least room says what is returned. A decision that was refunded or reconciled is not changed again;
    /// after an error, [`Limiter::rollback`] describes which are.
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
        self.refund_all(&key, &charged, actual).await?;
        let mut no_room = 0;
        let mut too_little = charged.iter().filter(|one| one.decision.cost() < actual);
        while let Some(one) = too_little.next() {
            let excess = actual - one.decision.cost();
            let mut found = 0;
            if let Err(error) = self.charge_up_to(&key, &one.rule, excess, &mut found).await {
                if error.effect() == Effect::None && found == 0 {
                    one.decision.cancel_change();
                }
                too_little.for_each(|one| one.decision.cancel_change()); // not charged either
                return Err(error.into());
            }
            no_room = no_room.max(excess - found);
        }
        Ok(no_room)
    }

    /// Returns what was charged and not changed yet, by rules that still count so, and marks it as changed.
    fn charged<'a>(&self, decisions: &'a [Decision]) -> Vec<Charged<'a>> {
        let rules = self.inner.rules.load();
        let still_counts = |decision: &'a Decision| {
            let receipt = decision.receipt()?;
            let rule = &rules::find(&rules, decision.rule()).ok()?.rule;
            let then = decision.checked_rule();
            let same = rule.algorithm() == then.algorithm() && rule.window() == then.window();
            (same && decision.begin_change()).then(|| Charged {
                decision,
                rule: Arc::clone(rule),
                receipt,
            })
        };
        decisions.iter().filter_map(still_counts).collect()
    }

    /// Gives back what of each is more than the actual cost.
    async fn refund_all(
        &self,
        key: &Key<'_>,
        charged: &[Charged<'_>],
        actual: u64,
    ) -> Result<(), Error> {
        let (reply, is_one) = {
            let refunds: Vec<_> = charged
                .iter()
                .filter(|one| one.decision.cost() > actual)
                .map(|one| {
                    let cost = one.decision.cost() - actual;
                    Refund::new(Charge::new(key, &one.rule, cost), Some(one.receipt))
                })
                .collect();
            if refunds.is_empty() {
                return Ok(());
            }
            let reply = self.inner.storage.refund(&refunds, self.inner.clock.as_ref());
            (reply, refunds.len() == 1)
        };
        let Err(error) = reply.await else { return Ok(()) };
        // Of several keys, those before the key that cannot be read may have been refunded.
        let is_certain = error.effect() == Effect::None && (is_one || !error.is_of_key());
        let is_unchanged = |one: &&Charged<'_>| is_certain || one.decision.cost() <= actual;
        charged.iter().filter(is_unchanged).for_each(|one| one.decision.cancel_change());
        Err(error.into())
    }

    /// Charges what there is room for, and adds it to `found`.
    async fn charge_up_to(
        &self,
        key: &Key<'_>,
        rule: &CheckedRule,
        cost: u64,
        found: &mut u64,
    ) -> Result<(), StorageError> {
        /// Others may take the room that was seen, and that of a queue may lie in pieces.
        const TRIES: usize = 16;
        let rule = Arc::new(rule.without_block()); // a denial shuts nobody out
        let mut asked = cost.min(rule.capacity());
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
                    *found += asked;
                    asked.min(verdict.remaining).min(cost - *found)
                }
                (false, false) if verdict.remaining < asked => verdict.remaining,
                (false, false) => asked / 2,
                (false, true) => break,
            };
        }
        Ok(())
    }
}
