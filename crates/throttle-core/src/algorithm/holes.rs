//! The turns of those who left a queue, for the next who come.

use super::Wide;

/// How many are remembered; of more, the nearest stays taken until it is over.
pub(super) const MOST_HOLES: usize = 16;

/// Parts of a backlog that nobody stands in: sorted, and apart from each other and from its end but for what
/// rounding took.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Holes(pub(super) Vec<Hole>);

/// Where a hole begins and ends, counted from the front.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Hole {
    pub(super) from: Wide,
    pub(super) to: Wide,
}

impl Hole {
    pub(super) fn new(from: u128, to: u128) -> Self {
        Self { from: Wide::new(from), to: Wide::new(to) }
    }

    pub(super) fn len(&self) -> u128 {
        self.to.get().saturating_sub(self.from.get())
    }
}

impl Holes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how much of the backlog they are.
    pub(super) fn sum(&self) -> u128 {
        self.0.iter().map(Hole::len).sum()
    }

    /// Moves them to the front with the backlog; who has passed it is gone.
    pub(super) fn drain(&mut self, drained: u128) {
        self.change(|place| place.saturating_sub(drained));
    }

    /// Changes all places in the same way, which keeps their order.
    pub(super) fn change(&mut self, to: impl Fn(u128) -> u128) {
        for hole in &mut self.0 {
            *hole = Hole::new(to(hole.from.get()), to(hole.to.get()));
        }
        self.0.retain(|hole| hole.len() > 0);
    }

    /// Finds the nearest that has room for so much.
    pub(super) fn find(&self, room: u128) -> Option<usize> {
        self.0.iter().position(|hole| hole.len() >= room)
    }

    /// Takes so much of the front of a hole, and returns where what was taken ends.
    pub(super) fn take(&mut self, number: usize, room: u128) -> u128 {
        let Hole { from, to } = self.0[number];
        let taken = from.get() + room;
        if taken < to.get() {
            self.0[number].from = Wide::new(taken);
        } else {
            self.0.remove(number);
        }
        taken
    }

    /// Frees a part of a backlog, and returns where the backlog ends then: before the last who stands in it.
    pub(super) fn free(&mut self, mut from: u128, mut to: u128, end: u128) -> u128 {
        self.0.retain(|hole| {
            let apart = hole.to.get() < from || hole.from.get() > to;
            if !apart {
                (from, to) = (from.min(hole.from.get()), to.max(hole.to.get()));
            }
            apart
        });
        if to >= end {
            return from;
        }
        let place = self.0.partition_point(|hole| hole.from.get() < from);
        self.0.insert(place, Hole::new(from, to));
        if self.0.len() > MOST_HOLES {
            self.0.remove(0);
        }
        end
    }

    /// Frees so much of the end of a backlog, and returns where it ends then.
    pub(super) fn free_last(&mut self, mut amount: u128, mut end: u128) -> u128 {
        loop {
            let last = self.0.last().map_or(0, |hole| hole.to.get());
            let taken = amount.min(end.saturating_sub(last));
            (amount, end) = (amount - taken, end - taken);
            if end > last || end == 0 {
                return end;
            }
            end = self.0.pop().map_or(0, |hole| hole.from.get());
        }
    }
}
