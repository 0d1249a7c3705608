//! The freed slots of a leaky bucket's queue: the parts of the backlog whose requests were refunded.
//!
//! Positions count from the front of the backlog, in its unit. The front moves as the backlog drains. The queue below
//! has one freed slot, from 3 to 5; a request of at most 2 units gets the scheduled time at position 3:
//!
//! ```text
//! position   0     3     5        9
//!            | a   | —   | b      | end of the queue
//! ```

use crate::exact::PackedU128;

/// The maximum number of slots that are stored. Beyond that, the first one is dropped, and its time passes unused.
pub(super) const MAX_SLOTS: usize = 16;

/// The free parts of a backlog, in order. They do not touch each other or the end, except after rounding.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct FreedSlots(pub(super) Vec<FreedSlot>);

/// The start and the end of a freed slot.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct FreedSlot {
    pub(super) from: PackedU128,
    pub(super) to: PackedU128,
}

impl FreedSlot {
    pub(super) fn new(from: u128, to: u128) -> Self {
        Self { from: PackedU128::new(from), to: PackedU128::new(to) }
    }

    pub(super) fn len(&self) -> u128 {
        self.to.get().saturating_sub(self.from.get())
    }
}

impl FreedSlots {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the total length.
    pub(super) fn sum(&self) -> u128 {
        self.0.iter().map(FreedSlot::len).sum()
    }

    /// Moves all slots towards the front, and removes those that have drained.
    pub(super) fn drain(&mut self, drained: u128) {
        self.change(|position| position.saturating_sub(drained));
    }

    /// Changes all positions by a monotonic function, which keeps their order.
    pub(super) fn change(&mut self, to: impl Fn(u128) -> u128) {
        for slot in &mut self.0 {
            *slot = FreedSlot::new(to(slot.from.get()), to(slot.to.get()));
        }
        self.0.retain(|slot| slot.len() > 0);
    }

    /// Returns the index of the first slot that fits a length.
    pub(super) fn find(&self, room: u128) -> Option<usize> {
        self.0.iter().position(|slot| slot.len() >= room)
    }

    /// Removes a length from the start of a slot, and returns the end of the removed part.
    pub(super) fn take(&mut self, number: usize, room: u128) -> u128 {
        let FreedSlot { from, to } = self.0[number];
        let taken = from.get() + room;
        if taken < to.get() {
            self.0[number].from = PackedU128::new(taken);
        } else {
            self.0.remove(number);
        }
        taken
    }

    /// Frees a part of the backlog, and returns the new end of the backlog.
    pub(super) fn free(&mut self, mut from: u128, mut to: u128, end: u128) -> u128 {
        // Merge with the slots that it touches.
        self.0.retain(|slot| {
            let apart = slot.to.get() < from || slot.from.get() > to;
            if !apart {
                (from, to) = (from.min(slot.from.get()), to.max(slot.to.get()));
            }
            apart
        });
        if to >= end {
            return from; // the queue becomes shorter
        }
        let index = self.0.partition_point(|slot| slot.from.get() < from);
        self.0.insert(index, FreedSlot::new(from, to));
        if self.0.len() > MAX_SLOTS {
            self.0.remove(0);
        }
        end
    }

    /// Frees an amount at the end of the backlog, and returns its new end.
    pub(super) fn free_last(&mut self, mut amount: u128, mut end: u128) -> u128 {
        loop {
            // Slots are free already: skip those at the end, and take the amount from the requests between them.
            let last = self.0.last().map_or(0, |slot| slot.to.get());
            let taken = amount.min(end.saturating_sub(last));
            (amount, end) = (amount - taken, end - taken);
            if end > last || end == 0 {
                return end;
            }
            end = self.0.pop().map_or(0, |slot| slot.from.get());
        }
    }
}
