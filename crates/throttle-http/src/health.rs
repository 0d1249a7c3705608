//! Whether the storage decides: one line of the log for each change, not for each request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use throttle_core::{Decisions, Error};

/// Counts the requests that could not be decided since it last worked; 0 while it works.
#[derive(Debug, Default)]
pub(crate) struct Health {
    undecided: AtomicU64,
}

impl Health {
    /// Notes a request that could not be decided.
    #[cold]
    pub(crate) fn failed(&self, error: &Error, then: &str) {
        if self.undecided.fetch_add(1, Relaxed) == 0 {
            tracing::error!(%error, "limits cannot be decided; until they can, {then}");
        }
    }

    /// Notes a request that was decided.
    #[inline]
    pub(crate) fn decided(&self, decisions: &Decisions) {
        if self.undecided.load(Relaxed) != 0 {
            self.recover(decisions);
        }
    }

    #[cold]
    fn recover(&self, decisions: &Decisions) {
        let reported = decisions.reported();
        if reported.listed().is_some() || reported.is_degraded() {
            return; // the storage was not asked, or did not answer
        }
        match self.undecided.swap(0, Relaxed) {
            0 => {} // another request was faster
            requests => tracing::warn!(requests, "limits are decided again"),
        }
    }
}
