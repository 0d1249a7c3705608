//! What names a charge, so that a refund finds it.

use crate::{exact::PackedU128, time::Micros};

/// Names what was charged: a window's start, or a moment and how full the bucket was after it.
///
/// A refund that carries it touches no other window and no other charge.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Receipt {
    pub(crate) charged_at: Micros,
    fill_level: PackedU128,
}

impl Receipt {
    /// Makes a receipt as the arithmetic of another language did it.
    #[must_use]
    pub const fn new(charged_at: Micros, fill_level: u128) -> Self {
        Self { charged_at, fill_level: PackedU128::new(fill_level) }
    }

    /// Returns the window's start or the moment of the charge.
    #[must_use]
    pub const fn charged_at(&self) -> Micros {
        self.charged_at
    }

    /// Returns a bucket's backlog right after the charge, in tokens × microseconds of the window.
    #[must_use]
    pub const fn fill_level(&self) -> u128 {
        self.fill_level.get()
    }
}
