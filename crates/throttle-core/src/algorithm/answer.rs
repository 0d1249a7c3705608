//! What an algorithm answers: whether it admits a cost, what a charge did, what is left.

use crate::{receipt::Receipt, time::Micros};

/// Says whether a state would admit a cost.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Decided {
    /// It would, after `delay` where the caller shapes.
    Allowed { delay: Micros },
    /// It would not; it will in `retry_after` if nothing else is admitted, or never.
    Denied { retry_after: Option<Micros>, blocked: bool },
}

/// Says what a charge did.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct ChargeOutcome {
    pub(crate) delay: Micros,
    pub(crate) receipt: Receipt,
    pub(crate) availability: Availability,
}

/// Says where a key stands, whatever is asked next.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Availability {
    pub(crate) remaining: u64,
    pub(crate) reset_after: Micros,
}
