//! The state of one key under one rule.

use throttle_core::{Micros, State};

use crate::key::SlotKey;

/// The heat of a slot that has just denied.
pub(crate) const HOTTEST: u8 = 16;

/// A key with its state.
///
/// The table holds the slots themselves, so that a slot is in one part of memory: two cache lines that lie
/// beside each other, rather than two and a half.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    pub(crate) key: SlotKey,
    pub(crate) state: State,
    /// When the state no longer matters, by the machine's clock.
    pub(crate) expires: Micros,
}

/// Every key costs what a slot takes.
const _: () = assert!(size_of::<Slot>() == 128);

impl Slot {
    /// Records that the slot was used, and until when it matters.
    #[inline]
    pub(crate) fn used(&mut self, allowed: bool, expires: Micros) {
        self.expires = expires;
        self.key.heat = if allowed { (self.key.heat + 1).min(HOTTEST / 4) } else { HOTTEST };
    }
}
