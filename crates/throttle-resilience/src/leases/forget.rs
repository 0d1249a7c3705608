//! Leases that end because the storage forgets what was charged.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, ChargeRequest};

use super::{pending_fetch::Voided, state::Inner, table::Return};
use crate::before_and_after::BeforeAndAfter;

impl Inner {
    /// Forgets the leases of a request's keys, now and when the guard is dropped.
    pub(super) fn forgetting(
        self: &Arc<Self>,
        request: &ChargeRequest<'_>,
    ) -> BeforeAndAfter<impl Fn() + Send + 'static> {
        let charges = request.charges().iter().copied().map(Charge::to_owned);
        let charges: SmallVec<[_; 1]> = charges.collect();
        let inner = Arc::clone(self);
        BeforeAndAfter::new(move || {
            charges.iter().for_each(|charge| inner.forget(&charge.borrow()));
        })
    }

    /// Forgets all leases, now and when the guard is dropped.
    pub(super) fn forgetting_all(self: &Arc<Self>) -> BeforeAndAfter<impl Fn() + Send + 'static> {
        let inner = Arc::clone(self);
        BeforeAndAfter::new(move || inner.forget_all())
    }

    /// Forgets all leases without giving anything back.
    fn forget_all(&self) {
        let mut forgotten = Vec::new();
        self.table.each(|shard| {
            shard.visit(|hash, of_key| {
                of_key.void(hash, None, Voided::Forget, &mut forgotten);
            });
        });
        self.expire(&forgotten);
    }

    fn forget(&self, charge: &Charge<'_>) {
        if self.named(charge.rule()).is_none() {
            return;
        }
        let mut forgotten = Vec::new();
        let hash = self.table.hash(charge.key());
        if let Some(of_key) = self.table.lock(hash).find(hash, charge.key()) {
            of_key.void(hash, Some(charge.rule().name()), Voided::Forget, &mut forgotten);
        }
        self.expire(&forgotten);
    }

    fn expire(&self, returns: &[Return]) {
        let batches = returns.iter().flat_map(|one| &one.batches);
        self.count(&self.counts.expired, batches.map(|batch| batch.left).sum());
    }
}
