//! Receipts, which identify charges for refunds.

use crate::{exact::PackedU128, time::Micros};

/// The identity of a charge: the start of its window, or its time and the level of the bucket after it.
///
/// A refund with a receipt does not change other windows or charges.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub struct Receipt {
    pub(crate) charged_at: Micros,
    fill_level: PackedU128,
}

impl Receipt {
    /// Creates a receipt from its parts, as a storage that computes in another language returns them.
    #[must_use]
    pub const fn new(charged_at: Micros, fill_level: u128) -> Self {
        Self { charged_at, fill_level: PackedU128::new(fill_level) }
    }

    /// Returns the start of the window, or the time of the charge.
    #[must_use]
    pub const fn charged_at(&self) -> Micros {
        self.charged_at
    }

    /// Returns the backlog of the bucket right after the charge, in tokens × microseconds of the window.
    #[must_use]
    pub const fn fill_level(&self) -> u128 {
        self.fill_level.get()
    }
}
