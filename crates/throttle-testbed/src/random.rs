//! Numbers that repeat with their seed, or never.

use std::hash::{BuildHasher, RandomState};

/// Draws numbers by splitmix64: a fault that was drawn can be drawn again from the printed seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts where no other process starts.
    pub(crate) fn new() -> Self {
        Self(RandomState::new().hash_one(std::process::id()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws from `0..bound`; `bound` is not 0. The bias is of no concern to a test.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Draws 40 hexadecimal digits, as Redis names its nodes.
    pub(crate) fn id(&mut self) -> String {
        let digits = format!("{:016x}{:016x}{:016x}", self.next(), self.next(), self.next());
        digits[..40].to_owned()
    }
}
