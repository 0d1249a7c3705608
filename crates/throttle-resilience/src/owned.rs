//! Requests that outlive their caller's.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, CheckedRule, Clock, Key, Request};

/// Owns what a request borrows.
#[derive(Clone)]
pub(crate) struct OwnedRequest {
    charges: SmallVec<[OwnedCharge; 1]>,
    clock: Option<Arc<dyn Clock>>,
}

/// Owns what a charge borrows.
#[derive(Clone)]
pub(crate) struct OwnedCharge {
    pub(crate) key: Key<'static>,
    pub(crate) rule: Arc<CheckedRule>,
    pub(crate) cost: u64,
}

impl OwnedRequest {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let charges = request.charges().iter().map(OwnedCharge::of).collect();
        Self { charges, clock: request.clock().cloned() }
    }

    /// Lends the request.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Request<'_>) -> T) -> T {
        let charges: SmallVec<[_; 2]> = self.charges.iter().map(OwnedCharge::borrow).collect();
        work(&Request::new(&charges, self.clock.as_ref()))
    }
}

impl OwnedCharge {
    pub(crate) fn of(charge: &Charge<'_>) -> Self {
        let key = charge.key().clone().into_owned();
        Self { key, rule: Arc::clone(charge.rule()), cost: charge.cost() }
    }

    pub(crate) fn borrow(&self) -> Charge<'_> {
        Charge::new(&self.key, &self.rule, self.cost)
    }
}
