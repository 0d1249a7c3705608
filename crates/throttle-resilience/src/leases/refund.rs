//! What comes back: charges that should not count, and permits of requests that were denied.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, Clock, OwnedCharge, Receipt, Refund, Reply};

use super::{Inner, gate::Voided, path::Plans, plan::Plan, table::Return};

impl Inner {
    /// Gives charges back: into the stock they were taken from if it is still held, otherwise to the
    /// storage, after what is held of their keys.
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
        let refunded = self.storage.refund(&rest, clock);
        if returns.is_empty() {
            return refunded;
        }
        let inner = Arc::clone(self);
        match inner.give_back(returns).into_ready() {
            Ok(_) => refunded,
            Err(pending) => Reply::pending(async move {
                let _given_back = pending.await;
                refunded.await
            }),
        }
    }

    /// Puts a charge back into stock. If that cannot be, what is held of the key is to be given back: a
    /// refund could otherwise credit what is still held.
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
        of_key.void(hash, Some(charge.rule().name()), Voided::GiveBack, returns);
        false
    }
}

/// Permits that a request took from stock; what is still in here when it is dropped is put back.
pub(super) struct Taken {
    pub(super) inner: Arc<Inner>,
    pub(super) hash: u64,
    pub(super) parts: SmallVec<[Part; 1]>,
}

pub(super) struct Part {
    pub(super) place: usize,
    pub(super) charge: OwnedCharge,
    pub(super) receipt: Option<Receipt>,
    pub(super) clock: Option<Arc<dyn Clock>>,
}

impl Taken {
    pub(super) fn holds(&self, place: usize) -> bool {
        self.part(place).is_some()
    }

    pub(super) fn part(&self, place: usize) -> Option<&Part> {
        self.parts.iter().find(|part| part.place == place)
    }

    /// Puts all back; the storage gets what the stock does not take.
    pub(super) fn put_back(&self) {
        for part in &self.parts {
            let refund = Refund::new(part.charge.borrow(), part.receipt);
            self.inner.put_back(&refund, self.hash, part.clock.as_ref());
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.put_back();
    }
}

impl Inner {
    fn put_back(self: &Arc<Self>, refund: &Refund<'_>, hash: u64, clock: Option<&Arc<dyn Clock>>) {
        let (charge, now) = (refund.charge(), self.now(clock));
        {
            let mut shard = self.table.lock(hash);
            let of_key = shard.find(hash, charge.key());
            let lease = of_key.and_then(|of_key| of_key.of(charge.rule(), clock));
            if let Some(lease) = lease {
                lease.advance(now);
                // It was held a moment ago, so that there is room for it.
                if lease.put_back(refund.receipt(), charge.cost(), u64::MAX) {
                    return;
                }
            }
        }
        let Some(plan) = self.plan(charge.rule()) else { return };
        let charged = Charge::new(charge.key(), &plan.charged, charge.cost());
        let reply = self.storage.refund(&[Refund::new(charged, refund.receipt())], clock);
        self.in_background(reply);
    }
}
