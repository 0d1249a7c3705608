//! The charge of a request, and its refund or reconciliation.

use std::sync::Arc;

use throttle_core::{Algorithm, Decision, Decisions, Key};

use super::actual_cost::Cell;
use crate::{background, throttle::Throttle};

/// The charge of a request, with the data that a refund or a reconciliation needs.
#[derive(Debug)]
pub(crate) struct Charged {
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) key: Key<'static>,
    pub(crate) decisions: Decisions,
}

/// A charge that is refunded or reconciled when this is dropped.
#[derive(Debug)]
pub(crate) struct ChargeGuard {
    charged: Option<Charged>,
    on_drop: OnDrop,
}

/// The action on a charge when its guard is dropped.
#[derive(Debug)]
pub(crate) enum OnDrop {
    Keep,
    Refund,
    /// Reconciles it with the cost reported by then; if none was reported, the estimate stays.
    Reconcile(Arc<Cell>),
}

impl ChargeGuard {
    pub(crate) fn new(charged: Charged, on_drop: OnDrop) -> Self {
        Self { charged: Some(charged), on_drop }
    }

    /// Creates a guard that refunds the charge.
    pub(crate) fn refunding(
        throttle: Arc<Throttle>,
        key: Key<'static>,
        decisions: Decisions,
    ) -> Self {
        Self::new(Charged { throttle, key, decisions }, OnDrop::Refund)
    }

    pub(crate) fn charged(&self) -> Option<&Charged> {
        self.charged.as_ref()
    }

    pub(crate) fn on_drop(&self) -> &OnDrop {
        &self.on_drop
    }

    pub(crate) fn set_on_drop(&mut self, on_drop: OnDrop) {
        self.on_drop = on_drop;
    }

    /// Keeps the charge as it is.
    pub(crate) fn keep(mut self) {
        self.charged = None;
    }

    /// Leaves the charge to the caller.
    pub(crate) fn into_charged(mut self) -> Option<Charged> {
        self.charged.take()
    }

    /// Refunds the charge by the rules that `is_refunded` picks, and waits until this is done. It is also done if
    /// this is dropped before.
    pub(crate) async fn refund_where(self, is_refunded: impl Fn(&Decision) -> bool) {
        let Some(charged) = self.into_charged() else { return };
        let all = charged.decisions.all().iter();
        let refunded: Vec<_> = all.filter(|one| is_refunded(one)).cloned().collect();
        let limiter = charged.throttle.limiter().clone();
        background::complete(&limiter, async move { _ = charged.refund(&refunded).await }).await;
    }
}

impl Drop for ChargeGuard {
    fn drop(&mut self) {
        let Some(charged) = self.charged.take() else { return };
        let actual = match &self.on_drop {
            OnDrop::Keep => return,
            OnDrop::Refund => None,
            OnDrop::Reconcile(cell) => match cell.known() {
                None => return,
                known => known,
            },
        };
        let throttle = Arc::clone(&charged.throttle);
        background::finish(throttle.limiter(), async move {
            match actual {
                None => _ = charged.rollback().await,
                Some(actual) => _ = charged.reconcile(actual).await,
            }
        });
    }
}

impl Charged {
    /// Refunds the whole charge, and returns whether the storage did so.
    async fn rollback(&self) -> bool {
        self.refund(self.decisions.all()).await
    }

    /// Refunds the part that the handler has not used up. Returns the decisions without it, if the refund
    /// succeeded.
    pub(crate) async fn refund_unused(&self) -> Option<Decisions> {
        let is_unused = |one: &Decision| !self.is_used_up(one);
        let all = self.decisions.all().iter();
        let unused: Vec<_> = all.filter(|one| is_unused(one)).cloned().collect();
        self.refund(&unused).await.then(|| self.decisions.rolled_back(is_unused))
    }

    /// Reconciles the part that the handler has not used up with the actual cost. Returns the decisions with that
    /// cost, if this succeeded.
    pub(crate) async fn reconcile(&self, actual: u64) -> Option<Decisions> {
        let changes = |one: &Decision| one.cost() < actual || !self.is_used_up(one);
        let changed: Vec<_> =
            self.decisions.all().iter().filter(|one| changes(one)).cloned().collect();
        let settled = self.throttle.limiter().reconcile(&self.key, &changed, actual).await;
        if let Err(error) = &settled {
            tracing::warn!(target: "ratethrottle::storage", %error, "a charge could not be reconciled");
        }
        settled.is_ok().then(|| self.decisions.reconciled(actual, changes))
    }

    /// Returns whether a rule charged a scheduled time, which is used up when the handler is called.
    fn is_used_up(&self, decision: &Decision) -> bool {
        self.throttle.shapes() && decision.checked_rule().algorithm() == Algorithm::LeakyBucket
    }

    async fn refund(&self, decisions: &[Decision]) -> bool {
        let refunded = self.throttle.limiter().rollback(&self.key, decisions).await;
        if let Err(error) = &refunded {
            tracing::warn!(target: "ratethrottle::storage", %error, "a charge could not be refunded");
        }
        refunded.is_ok()
    }
}
