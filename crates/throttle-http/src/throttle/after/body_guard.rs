//! The state of a request that lasts until the body of its response has ended.

use std::sync::Arc;

use super::{
    charge::{ChargeGuard, OnDrop},
    in_flight::Permits,
};

/// The permits of a request, and its charge if that is reconciled at the end of the response body.
///
/// Keep it with the body of the response, and drop it when the body has ended, has failed, or is cancelled.
#[derive(Debug)]
#[must_use = "permits are released, and the charge is reconciled, when this is dropped"]
pub struct BodyGuard(Box<Held>);

#[derive(Debug)]
struct Held {
    guard: Option<ChargeGuard>,
    _permits: Option<Arc<Permits>>,
    counts_bytes: bool,
}

impl BodyGuard {
    pub(super) fn of(guard: Option<ChargeGuard>, permits: Option<Arc<Permits>>) -> Option<Self> {
        let guard = guard.filter(|guard| matches!(guard.on_drop(), OnDrop::Reconcile(_)));
        if guard.is_none() && permits.is_none() {
            return None;
        }
        let charged = guard.as_ref().and_then(ChargeGuard::charged);
        let actual = charged.and_then(|charged| charged.throttle.options().actual.as_ref());
        let counts_bytes = actual.is_some_and(|actual| actual.bytes_sent);
        let held = Self(Box::new(Held { guard, _permits: permits, counts_bytes }));
        // A body without bytes costs 0. Without a report, the estimate would stay.
        held.sent(0);
        Some(held)
    }

    /// Records that bytes of the body were sent.
    pub fn sent(&self, bytes: usize) {
        let Held { guard, counts_bytes, .. } = &*self.0;
        if *counts_bytes
            && let Some(OnDrop::Reconcile(cell)) = guard.as_ref().map(ChargeGuard::on_drop)
        {
            cell.add(bytes as u64);
        }
    }
}
