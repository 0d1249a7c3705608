//! Blocks after a denial.

use crate::time::Micros;

/// A block of a key. It stores its length, so a clock that steps back cannot extend it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub(super) until: Micros,
    pub(super) length: Micros,
}

impl Block {
    #[inline]
    pub(super) fn new(now: Micros, length: Micros) -> Self {
        Self { until: now.plus(length), length }
    }

    /// Moves the block to the current time, and returns whether it is over.
    #[inline]
    pub(super) fn advance(&mut self, now: Micros) -> bool {
        self.until = self.until.min(now.plus(self.length));
        self.until <= now
    }

    pub(super) fn is_ahead(&self, now: Micros) -> bool {
        self.until > now.plus(self.length)
    }

    #[inline]
    pub(super) fn left(&self, now: Micros) -> Micros {
        self.until.since(now)
    }
}
