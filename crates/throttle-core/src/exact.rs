//! Whole numbers that pass 64 bits: products, quotients, and how they are kept.

/// A 128-bit number that is aligned as a 64-bit one: states and verdicts, of which there are many, need no
/// padding.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
#[repr(Rust, packed(8))]
pub(crate) struct PackedU128(u128);

impl PackedU128 {
    pub(crate) const fn new(number: u128) -> Self {
        Self(number)
    }

    pub(crate) const fn get(self) -> u128 {
        self.0
    }
}

/// Returns `a·b / c`, rounded down, for products that pass 64 bits; `c` is not zero.
pub(crate) fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    quotient(product(a, b), c)
}

/// Returns `a / b`, rounded down, or the greatest number there is; `b` is not zero.
///
/// Nearly all of it fits in 64 bits, whose division takes a fraction of the time.
#[inline]
pub(crate) fn quotient(a: u128, b: u64) -> u64 {
    match u64::try_from(a) {
        Ok(a) => a / b,
        Err(_) => saturated(a / u128::from(b)),
    }
}

/// Returns `a / b`, rounded up, or the greatest number there is; `b` is not zero.
#[inline]
pub(crate) fn quotient_ceil(a: u128, b: u64) -> u64 {
    match u64::try_from(a) {
        Ok(a) => a.div_ceil(b),
        Err(_) => saturated(a.div_ceil(u128::from(b))),
    }
}

/// Returns `a·b` whole.
#[inline]
pub(crate) fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// Returns the number, or the greatest there is.
fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
