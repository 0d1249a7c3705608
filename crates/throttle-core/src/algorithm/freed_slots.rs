//! The freed slots of a queue: the scheduled times of requests that left it, for the next that come.

use crate::exact::PackedU128;

/// How many are remembered; of more, the nearest stays taken until its time is over.
pub(super) const MAX_SLOTS: usize = 16;

/// The free parts within a backlog: sorted, and apart from each other and from its end except for what rounding
/// took.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct FreedSlots(pub(super) Vec<FreedSlot>);

/// Where a freed slot begins and ends, counted from the front of the backlog.
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

    /// Returns how much of the backlog they are.
    pub(super) fn sum(&self) -> u128 {
        self.0.iter().map(FreedSlot::len).sum()
    }

    /// Moves them to the front with the backlog; those that pass it are gone.
    pub(super) fn drain(&mut self, drained: u128) {
        self.change(|position| position.saturating_sub(drained));
    }

    /// Changes all positions in the same way, which keeps their order.
    pub(super) fn change(&mut self, to: impl Fn(u128) -> u128) {
        for slot in &mut self.0 {
            *slot = FreedSlot::new(to(slot.from.get()), to(slot.to.get()));
        }
        self.0.retain(|slot| slot.len() > 0);
    }

    /// Finds the nearest that has room for so much.
    pub(super) fn find(&self, room: u128) -> Option<usize> {
        self.0.iter().position(|slot| slot.len() >= room)
    }

    /// Takes so much of the front of a slot, and returns where what was taken ends.
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

    /// Frees a part of a backlog, and returns where the backlog ends then: behind the last request in it.
    pub(super) fn free(&mut self, mut from: u128, mut to: u128, end: u128) -> u128 {
        self.0.retain(|slot| {
            let apart = slot.to.get() < from || slot.from.get() > to;
            if !apart {
                (from, to) = (from.min(slot.from.get()), to.max(slot.to.get()));
            }
            apart
        });
        if to >= end {
            return from;
        }
        let index = self.0.partition_point(|slot| slot.from.get() < from);
        self.0.insert(index, FreedSlot::new(from, to));
        if self.0.len() > MAX_SLOTS {
            self.0.remove(0);
        }
        end
    }

    /// Frees so much of the end of a backlog, and returns where it ends then.
    pub(super) fn free_last(&mut self, mut amount: u128, mut end: u128) -> u128 {
        loop {
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
