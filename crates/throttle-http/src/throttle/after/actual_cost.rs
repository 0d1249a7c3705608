//! The actual cost of a request, which its handler reports.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use smallvec::SmallVec;

/// The actual cost of a request, which its handler reports. It is in the extensions of the request if its
/// charge is reconciled ([`Options::charge_actual`](crate::Options::charge_actual)).
///
/// It can be cloned, and moved into the body of a response. A cost that is reported after the body has ended is
/// ignored. If nested throttles reconcile, each of them receives the cost.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_http::*; pub mod options { pub use super::*; } }
/// use ratethrottle::options::ActualCost;
///
/// fn on_chunk(cost: &ActualCost, tokens: u64) {
///     cost.add(tokens);
/// }
/// ```
#[derive(Clone)]
pub struct ActualCost {
    cells: SmallVec<[Arc<Cell>; 1]>,
}

/// The cost that was reported for one request by one throttle.
#[derive(Debug)]
pub(crate) struct Cell(AtomicU64);

/// The value before a cost is reported; limits are far below it.
const UNKNOWN: u64 = u64::MAX;

impl ActualCost {
    pub(super) fn of(cell: &Arc<Cell>) -> Self {
        let mut cells = SmallVec::new();
        cells.push(Arc::clone(cell));
        Self { cells }
    }

    /// Sets the cost, and replaces the cost that was reported before; 0 refunds the whole charge.
    pub fn set(&self, cost: u64) {
        self.cells.iter().for_each(|cell| cell.set(cost));
    }

    /// Adds to the cost that was reported before, or to 0 if there is none.
    pub fn add(&self, cost: u64) {
        self.cells.iter().for_each(|cell| cell.add(cost));
    }

    /// Returns the cost that was reported so far; `None` if none was reported, and the estimate stays.
    #[must_use]
    pub fn known(&self) -> Option<u64> {
        self.cells.first().and_then(|cell| cell.known())
    }

    /// Adds an outer throttle that receives the cost, too.
    #[must_use]
    pub(super) fn with_outer(mut self, outer: Option<&Self>) -> Self {
        self.cells.extend(outer.into_iter().flat_map(|outer| outer.cells.iter().cloned()));
        self
    }
}

impl Cell {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }

    pub(super) fn set(&self, cost: u64) {
        self.0.store(cost.min(UNKNOWN - 1), Relaxed);
    }

    pub(super) fn add(&self, cost: u64) {
        let sum = |old: u64| (if old == UNKNOWN { 0 } else { old }).saturating_add(cost);
        // The closure always returns a sum, so this cannot fail.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |old| Some(sum(old).min(UNKNOWN - 1)));
    }

    pub(super) fn known(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|cost| *cost != UNKNOWN)
    }
}

impl fmt::Debug for ActualCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActualCost").field(&self.known()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_add_up_and_no_report_is_not_zero() {
        let cell = Arc::new(Cell::new());
        let cost = ActualCost::of(&cell);
        assert_eq!(cost.known(), None);
        cost.add(0);
        assert_eq!(cost.known(), Some(0));
        cost.add(5);
        cost.clone().add(6);
        assert_eq!(cell.known(), Some(11));
        cost.set(3);
        assert_eq!(cost.known(), Some(3));
        cost.set(u64::MAX);
        cost.add(u64::MAX);
        assert_eq!(cost.known(), Some(u64::MAX - 1));
    }

    #[test]
    fn an_outer_throttle_receives_the_cost_too() {
        let (outer, inner) = (Arc::new(Cell::new()), Arc::new(Cell::new()));
        let cost = ActualCost::of(&inner).with_outer(Some(&ActualCost::of(&outer)));
        cost.add(7);
        assert_eq!((outer.known(), inner.known()), (Some(7), Some(7)));
    }
}
