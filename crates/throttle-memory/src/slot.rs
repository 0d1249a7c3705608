//! The state of one key under one rule.

use throttle_core::{Micros, State, Verdict};

use crate::key::SlotKey;

/// The use count of a slot that was used once.
pub(crate) const LFU_NEW: u8 = 1;
/// The highest use count of a slot that allowed its latest request.
pub(crate) const LFU_MAX: u8 = 4;
/// The use counts of slots that denied their latest request, and of slots with a blocked key. They are above all
/// others, so keys that are being limited are evicted last.
const DENIED: u8 = LFU_MAX + 1;
const BLOCKED: u8 = LFU_MAX + 2;

/// A key with its state.
///
/// The table contains the slots themselves. With their alignment a slot occupies exactly two adjacent cache lines.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot {
    pub(crate) key: SlotKey,
    pub(crate) state: State,
    /// The time at which the state expires, by the system clock.
    pub(crate) expires: Micros,
}

/// The size of a slot is the memory cost of every key.
const _: () = assert!(size_of::<Slot>() == 128);

impl Slot {
    /// Records the verdict and the time at which the state expires.
    #[inline]
    pub(crate) fn record_use(&mut self, verdict: &Verdict, expires: Micros) {
        self.expires = expires;
        self.key.lfu = match (verdict.allowed, verdict.blocked) {
            (true, _) => (self.key.lfu + 1).min(LFU_MAX),
            (false, false) => DENIED,
            (false, true) => BLOCKED,
        };
    }
}
