//! A 128-bit number that is aligned as a 64-bit one.

/// Keeps states and verdicts, of which there are many, free of the padding that a `u128` asks for.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
#[repr(Rust, packed(8))]
pub(crate) struct Wide(u128);

impl Wide {
    pub(crate) const fn new(number: u128) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u128 {
        self.0
    }
}
