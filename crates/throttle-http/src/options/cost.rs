//! What a request costs.

use crate::RequestHead;

/// Says what a request costs: a number, or a function of the request.
pub trait ExtractCost: Send + Sync + 'static {
    /// Returns the cost; 0 lets the request pass uncharged.
    fn cost(&self, head: &RequestHead<'_>) -> u64;
}

impl ExtractCost for u64 {
    fn cost(&self, _: &RequestHead<'_>) -> u64 {
        *self
    }
}

impl ExtractCost for u32 {
    fn cost(&self, _: &RequestHead<'_>) -> u64 {
        u64::from(*self)
    }
}

/// For literals, which are `i32` where nothing else is asked for; a negative number costs 0.
impl ExtractCost for i32 {
    fn cost(&self, _: &RequestHead<'_>) -> u64 {
        u64::try_from(*self).unwrap_or(0)
    }
}

impl<F: Fn(&RequestHead<'_>) -> u64 + Send + Sync + 'static> ExtractCost for F {
    fn cost(&self, head: &RequestHead<'_>) -> u64 {
        self(head)
    }
}
