//! What names a charge, so that a refund finds it.

use crate::{exact::PackedU128, time::Micros};

/// Names what was charged: a window's start, or a moment and how full the bucket was after it.
///
/// A refund that carries it touches no other window and no other charge.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Receipt {
    pub(crate) mark: Micros,
    level: PackedU128,
}

impl Receipt {
    /// Makes a receipt as the arithmetic of another language did it.
    #[must_use]
    pub const fn new(mark: Micros, level: u128) -> Self {
        Self { mark, level: PackedU128::new(level) }
    }

    /// Returns the window's start or the moment of the charge.
    #[must_use]
    pub const fn mark(&self) -> Micros {
        self.mark
    }

    /// Returns a bucket's backlog right after the charge, in tokens × microseconds of the window.
    #[must_use]
    pub const fn level(&self) -> u128 {
        self.level.get()
    }
}
