//! Refunds of decisions, and their reconciliation with the actual cost.

use std::sync::Arc;

use super::{error::Error, handle::Limiter, rules};
use crate::{
    decision::Decision,
    key::Key,
    receipt::Receipt,
    rule::checked::CheckedRule,
    storage::{Charge, Effect, Refund, charge_up_to},
};

/// A decision that is marked as changed, and its current rule.
struct Charged<'a> {
    decision: &'a Decision,
    rule: Arc<CheckedRule>,
    receipt: Receipt,
}

impl Limiter {
    /// Refunds the charges of decisions about `key`. Later windows and charges of other requests do not change.
    ///
    /// A decision is refunded or [reconciled](Self::reconcile) once: a second call does nothing, even while the first
    /// is pending. Clones, such as those held by a handler and its middleware, count as the same decision. After an
    /// error of a call that was certainly not carried out ([`Effect::None`]) it can be refunded again;
    /// after another error, or if this future is dropped, it cannot, since the storage may have refunded it.
    ///
    /// A charge is not refunded if its rule was removed since, or replaced by one with another algorithm or window.
    /// Do not refund a charge from before a [reset](Self::reset) of the key: the state has no record of it, and the
    /// refund would reduce later charges.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Storage`] if the storage failed.
    pub async fn rollback<'k>(
        &self,
        key: impl Into<Key<'k>>,
        decisions: &[Decision],
    ) -> Result<(), Error> {
        let key = key.into().into_owned();
        let charged = self.mark_charged(decisions);
        self.refund_all(&key, &charged, 0).await
    }

    /// Changes the charges of decisions about `key` to the actual cost of the request, and returns the part of the cost
    /// that could not be charged.
    ///
    /// If the actual cost is lower, the difference is refunded, as [`Limiter::rollback`] does. If it is higher, each
    /// rule charges the difference up to its limit, and the rest is dropped. This does not cause a denial or violation,
    /// and is not counted in the metrics. Nothing more is charged to a blocked key. If the rules charge
    /// different parts, the smallest one is returned. A decision that was refunded or reconciled is not changed
    /// again; after an error, the conditions of [`Limiter::rollback`] apply.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Storage`] if the storage failed, at least in part.
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
        let charged = self.mark_charged(decisions);
        self.refund_all(&key, &charged, actual).await?;
        let mut no_room = 0;
        let mut too_little = charged.iter().filter(|one| one.decision.cost() < actual);
        while let Some(one) = too_little.next() {
            let excess = actual - one.decision.cost();
            let mut found = 0;
            let rule = Arc::new(one.rule.without_block()); // a denial here must not block the key
            let (storage, clock) = (&*self.inner.storage, self.inner.clock.as_ref());
            if let Err(error) = charge_up_to(storage, &key, &rule, excess, clock, &mut found).await
            {
                if error.effect() == Effect::None && found == 0 {
                    one.decision.cancel_change();
                }
                too_little.for_each(|one| one.decision.cancel_change()); // these are unchanged, too
                return Err(error.into());
            }
            no_room = no_room.max(excess - found);
        }
        Ok(no_room)
    }

    /// Returns the decisions whose charges can be changed, and marks them as changed. The rule must still count in the
    /// same way.
    fn mark_charged<'a>(&self, decisions: &'a [Decision]) -> Vec<Charged<'a>> {
        let rules = self.inner.rules.load();
        let refundable = |decision: &'a Decision| {
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
        decisions.iter().filter_map(refundable).collect()
    }

    /// Refunds the part of each charge that exceeds the actual cost.
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
        // If one of several keys cannot be read, those before it may have been refunded.
        let is_certain = error.effect() == Effect::None && (is_one || !error.is_of_key());
        let is_unchanged = |one: &&Charged<'_>| is_certain || one.decision.cost() <= actual;
        charged.iter().filter(is_unchanged).for_each(|one| one.decision.cancel_change());
        Err(error.into())
    }
}
