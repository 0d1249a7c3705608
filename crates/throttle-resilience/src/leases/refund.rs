//! Refunds of charges under leased rules.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, Clock, Refund, Reply, StorageError};

use super::{
    pending_fetch::Invalidation,
    plan::{Plan, Plans},
    state::Inner,
    table::Return,
};

impl Inner {
    /// Refunds charges: into the lease that they came from if it is still held, otherwise to the
    /// storage, after the permits held of their keys are returned.
    pub(super) fn refund(
        self: &Arc<Self>,
        refunds: &[Refund<'_>],
        clock: Option<&Arc<dyn Clock>>,
    ) -> Reply<()> {
        if refunds.iter().all(|refund| self.named(refund.charge().rule()).is_none()) {
            return self.storage.refund(refunds, clock);
        }
        let mut returns = Vec::new();
        let plans: Plans = refunds.iter().map(|refund| self.plan(refund.charge().rule())).collect();
        let mut rest: SmallVec<[_; 2]> = SmallVec::new();
        for (refund, plan) in refunds.iter().zip(&plans) {
            let charge = refund.charge();
            match plan {
                Some(plan) if self.refund_here(refund, plan, clock, &mut returns) => {}
                Some(plan) => {
                    let charge = Charge::new(charge.key(), &plan.charged, charge.cost());
                    rest.push(Refund::new(charge, refund.receipt()));
                }
                None => rest.push(*refund),
            }
        }
        if rest.is_empty() {
            return Reply::ready(Ok(()));
        }
        let mut refunded = self.storage.refund(&rest, clock);
        if rest.len() < refunds.len() {
            // The refunds to leases are done, and must not be made again.
            refunded = refunded
                .then(|answer| Reply::ready(answer.map_err(StorageError::with_unknown_effect)));
        }
        if returns.is_empty() {
            return refunded;
        }
        self.return_permits(returns).then(|_| refunded)
    }

    /// Puts a charge back into its lease. If that is not possible, all permits held of the key must
    /// be returned first: otherwise the refund could credit the charge of permits that are still
    /// held.
    fn refund_here(
        &self,
        refund: &Refund<'_>,
        plan: &Plan,
        clock: Option<&Arc<dyn Clock>>,
        returns: &mut Vec<Return>,
    ) -> bool {
        let charge = refund.charge();
        let hash = self.table.hash(charge.key());
        let mut shard = self.table.lock(hash);
        let Some(of_key) = shard.find(hash, charge.key()) else { return false };
        let now = self.now(clock);
        if let Some(lease) = of_key.of(charge.rule(), clock) {
            lease.advance(now);
            let most = self.most(plan);
            if refund.receipt().is_some() && lease.put_back(refund.receipt(), charge.cost(), most) {
                shard.spent = shard.spent.saturating_sub(charge.cost());
                return true;
            }
        }
        of_key.invalidate(hash, Some(charge.rule().name()), Invalidation::Return, returns);
        false
    }
}
