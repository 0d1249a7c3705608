//! Permits that a request has taken from leases before it is decided.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, Clock, OwnedCharge, Receipt, Refund};

use super::state::Inner;

/// Permits taken from leases. Those still in here when it is dropped are put back.
pub(super) struct Taken {
    pub(super) inner: Arc<Inner>,
    pub(super) hash: u64,
    pub(super) parts: SmallVec<[Part; 1]>,
}

pub(super) struct Part {
    pub(super) index: usize,
    pub(super) charge: OwnedCharge,
    pub(super) receipt: Option<Receipt>,
    pub(super) clock: Option<Arc<dyn Clock>>,
}

impl Part {
    pub(super) fn cost(&self) -> u64 {
        self.charge.borrow().cost()
    }
}

impl Taken {
    pub(super) fn cost(&self, index: usize) -> u64 {
        self.part(index).map_or(0, Part::cost)
    }

    pub(super) fn part(&self, index: usize) -> Option<&Part> {
        self.parts.iter().find(|part| part.index == index)
    }

    /// Puts all permits back. The storage is refunded for those whose lease has ended.
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
                // It was held a moment ago, so there is room for it.
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
