//! Permits that a handler keeps after its response.

use std::sync::{Arc, Weak};

use smallvec::SmallVec;
use throttle_core::ConcurrencyPermit;

/// The permits of one request; they are released when the last owner is dropped.
pub(crate) type Permits = SmallVec<[ConcurrencyPermit; 1]>;

/// The permits of a request, in its extensions. A handler can keep them after its response.
///
/// A permit is released when the body of the response has ended. A connection that is upgraded to a WebSocket
/// continues after a response without a body: [`keep`](Self::keep) the permits in the task that serves it. With
/// nested throttles, this contains the permits of all of them.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Weak, because extensions may be cloned and kept for any time, which must not keep the permits.
    permits: SmallVec<[Weak<Permits>; 1]>,
}

/// The permits of a request, kept until this is dropped.
#[derive(Clone, Debug)]
#[must_use = "the permits are released when this is dropped"]
pub struct InFlightGuard {
    _permits: SmallVec<[Arc<Permits>; 1]>,
}

impl InFlight {
    pub(super) fn of(permits: &Arc<Permits>) -> Self {
        let mut all = SmallVec::new();
        all.push(Arc::downgrade(permits));
        Self { permits: all }
    }

    /// Keeps the permits. After the response has ended, they are already released, and this has no effect.
    pub fn keep(&self) -> InFlightGuard {
        InFlightGuard { _permits: self.permits.iter().filter_map(Weak::upgrade).collect() }
    }

    /// Adds the permits of an outer throttle.
    #[must_use]
    pub(super) fn with_outer(mut self, outer: Option<&Self>) -> Self {
        self.permits.extend(outer.into_iter().flat_map(|outer| outer.permits.iter().cloned()));
        self
    }
}
