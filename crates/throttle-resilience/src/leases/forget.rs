//! Leases that end because a reset removes their charges from the storage.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, ChargeRequest};

use super::{pending_fetch::Invalidation, state::Inner, table::Return};
use crate::before_and_after::BeforeAndAfter;

impl Inner {
    /// Discards the leases of a request's keys now, and again when the guard is dropped, for
    /// batches granted during the reset.
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

    /// Discards all leases now, and again when the guard is dropped.
    pub(super) fn forgetting_all(self: &Arc<Self>) -> BeforeAndAfter<impl Fn() + Send + 'static> {
        let inner = Arc::clone(self);
        BeforeAndAfter::new(move || inner.forget_all())
    }

    /// Discards all leases without returning permits: the storage no longer counts them.
    fn forget_all(&self) {
        let mut forgotten = Vec::new();
        self.table.each(|shard| {
            shard.visit(|hash, of_key| {
                of_key.invalidate(hash, None, Invalidation::Discard, &mut forgotten);
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
            of_key.invalidate(
                hash,
                Some(charge.rule().name()),
                Invalidation::Discard,
                &mut forgotten,
            );
        }
        self.expire(&forgotten);
    }

    fn expire(&self, returns: &[Return]) {
        let batches = returns.iter().flat_map(|one| &one.batches);
        self.count(&self.counts.expired, batches.map(|batch| batch.left).sum());
    }
}
