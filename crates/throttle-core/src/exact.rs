//! Exact integer arithmetic beyond 64 bits: products, quotients and a compact 128-bit number.
//!
//! The algorithms multiply counts by microseconds. A limit has up to 50 bits and a window up to 49, so the
//! product of two needs 128 bits, and a rounded product would give wrong decisions.

/// A 128-bit number with the alignment of a 64-bit one.
///
/// There are many states and verdicts; with the usual alignment of 16 bytes each would have padding.
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

/// Returns `a·b / c`, rounded down, even if `a·b` exceeds 64 bits; `c` is not zero.
pub(crate) fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    quotient(product(a, b), c)
}

/// Returns `a / b`, rounded down and saturated; `b` is not zero.
#[inline]
pub(crate) fn quotient(a: u128, b: u64) -> u64 {
    // Most values fit in 64 bits, and a 128-bit division takes several times as long.
    match u64::try_from(a) {
        Ok(a) => a / b,
        Err(_) => saturated(a / u128::from(b)),
    }
}

/// Returns `a / b`, rounded up and saturated; `b` is not zero.
#[inline]
pub(crate) fn quotient_ceil(a: u128, b: u64) -> u64 {
    match u64::try_from(a) {
        Ok(a) => a.div_ceil(b),
        Err(_) => saturated(a.div_ceil(u128::from(b))),
    }
}

/// Returns the exact product `a·b`.
#[inline]
pub(crate) fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// Returns the number, or `u64::MAX` if it does not fit.
fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
