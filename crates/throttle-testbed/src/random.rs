//! Random numbers from a fixed or a random seed.

use std::hash::{BuildHasher, RandomState};

/// A splitmix64 generator. Its faults can be reproduced from the printed seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Creates a generator with a random seed.
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

    /// Draws from `0..bound`, where `bound` is not 0. The slight bias does not matter in tests.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Draws 40 hexadecimal digits, the format of node IDs.
    pub(crate) fn id(&mut self) -> String {
        let digits = format!("{:016x}{:016x}{:016x}", self.next(), self.next(), self.next());
        digits[..40].to_owned()
    }
}
