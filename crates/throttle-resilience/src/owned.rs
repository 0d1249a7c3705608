//! Requests that outlive their caller's.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, ChargeRequest, Clock, OwnedCharge};

/// Owns what a request borrows.
#[derive(Clone)]
pub(crate) struct OwnedRequest {
    charges: SmallVec<[OwnedCharge; 1]>,
    clock: Option<Arc<dyn Clock>>,
}

impl OwnedRequest {
    pub(crate) fn of(request: &ChargeRequest<'_>) -> Self {
        let charges = request.charges().iter().copied().map(Charge::to_owned).collect();
        Self { charges, clock: request.clock().cloned() }
    }

    /// Lends the request.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&ChargeRequest<'_>) -> T) -> T {
        let charges: SmallVec<[_; 2]> = self.charges.iter().map(OwnedCharge::borrow).collect();
        work(&ChargeRequest::new(&charges, self.clock.as_ref()))
    }
}
