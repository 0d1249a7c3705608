//! What a request turned out to cost.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use smallvec::SmallVec;

use super::{Charged, background};
use crate::Throttle;

/// Tells the throttle what a request turned out to cost; stands in the extensions of requests that are
/// settled ([`Options::charge_actual`](crate::Options::charge_actual)).
///
/// It can be cloned, and moved into the body of a response. What is said after the body has ended comes
/// too late. Of nested throttles that settle, all hear it.
///
/// # Examples
///
/// ```
/// # use throttle_http as ratethrottle;
/// use ratethrottle::ActualCost;
///
/// fn on_chunk(cost: &ActualCost, tokens: u64) {
///     cost.add(tokens);
/// }
/// ```
#[derive(Clone)]
pub struct ActualCost {
    cells: SmallVec<[Arc<Cell>; 1]>,
}

/// Holds what is known of the cost of one request.
pub(super) struct Cell(AtomicU64);

/// No cost is so high: limits are below it.
const UNKNOWN: u64 = u64::MAX;

impl ActualCost {
    pub(super) fn of(cell: &Arc<Cell>) -> Self {
        let mut cells = SmallVec::new();
        cells.push(Arc::clone(cell));
        Self { cells }
    }

    /// Says what the request costs, in place of what was said before; 0 gives all back.
    pub fn set(&self, cost: u64) {
        self.cells.iter().for_each(|cell| cell.set(cost));
    }

    /// Adds to what was said before, or to nothing.
    pub fn add(&self, cost: u64) {
        self.cells.iter().for_each(|cell| cell.add(cost));
    }

    /// Returns what was said so far; none where nothing was, and so the estimate stands.
    #[must_use]
    pub fn known(&self) -> Option<u64> {
        self.cells.first().and_then(|cell| cell.known())
    }

    /// Tells a throttle around this one, too.
    #[must_use]
    pub fn beside(mut self, outer: Option<&Self>) -> Self {
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
        // The closure always has a sum, so that this cannot fail.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |old| Some(sum(old).min(UNKNOWN - 1)));
    }

    pub(super) fn known(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|cost| *cost != UNKNOWN)
    }
}

/// Settles a request when it is dropped, to what is known by then; where nothing is, the estimate stands.
pub(super) struct Settlement {
    charged: Option<Charged>,
    cell: Arc<Cell>,
}

impl Settlement {
    pub(super) fn new(charged: Charged) -> Self {
        Self { charged: Some(charged), cell: Arc::new(Cell::new()) }
    }

    pub(super) fn cell(&self) -> &Arc<Cell> {
        &self.cell
    }

    pub(super) fn throttle(&self) -> Option<&Throttle> {
        self.charged.as_ref().map(|charged| &*charged.throttle)
    }

    /// Returns whether the bytes of the body are what it costs.
    pub(super) fn counts_bytes(&self) -> bool {
        let actual = self.throttle().and_then(|throttle| throttle.options().actual.as_ref());
        actual.is_some_and(|actual| actual.bytes_sent)
    }

    /// Leaves it to the caller.
    pub(super) fn into_charged(mut self) -> Option<Charged> {
        self.charged.take()
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if let (Some(charged), Some(actual)) = (self.charged.take(), self.cell.known()) {
            background::finish(async move { _ = charged.settle(actual).await });
        }
    }
}

impl fmt::Debug for ActualCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActualCost").field(&self.known()).finish()
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settlement")
            .field("charged", &self.charged)
            .field("known", &self.cell.known())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_adds_up_and_nothing_is_not_zero() {
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
    fn a_throttle_around_hears_it_too() {
        let (outer, inner) = (Arc::new(Cell::new()), Arc::new(Cell::new()));
        let cost = ActualCost::of(&inner).beside(Some(&ActualCost::of(&outer)));
        cost.add(7);
        assert_eq!((outer.known(), inner.known()), (Some(7), Some(7)));
    }
}
