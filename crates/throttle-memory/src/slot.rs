//! The state of one key under one rule.

use throttle_core::{Micros, State, Verdict};

use crate::key::SlotKey;

/// The use count of a slot that was used once, and of one that was used often.
pub(crate) const LFU_NEW: u8 = 1;
pub(crate) const WARM: u8 = 4;
/// The use count of a slot that has denied its latest request, and of one whose key is blocked.
const DENIED: u8 = WARM + 1;
const BLOCKED: u8 = WARM + 2;

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
    /// Records what the slot answered, and until when it matters.
    #[inline]
    pub(crate) fn used(&mut self, verdict: &Verdict, expires: Micros) {
        self.expires = expires;
        self.key.lfu = match (verdict.allowed, verdict.blocked) {
            (true, _) => (self.key.lfu + 1).min(WARM),
            (false, false) => DENIED,
            (false, true) => BLOCKED,
        };
    }
}
