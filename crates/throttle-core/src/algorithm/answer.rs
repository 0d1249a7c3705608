//! The answers of an algorithm.

use crate::{receipt::Receipt, time::Micros};

/// The decision about a cost, before it is charged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Decided {
    /// The cost is allowed; a caller that shapes traffic waits for `delay` first.
    Allowed { delay: Micros },
    /// The cost is denied. It is allowed after `retry_after` if nothing else is charged; with `None`, never.
    Denied { retry_after: Option<Micros>, blocked: bool },
}

/// The result of a charge.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct ChargeOutcome {
    pub(crate) delay: Micros,
    pub(crate) receipt: Receipt,
    pub(crate) availability: Availability,
}

/// The free capacity of a key, independent of a cost.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Availability {
    pub(crate) remaining: u64,
    pub(crate) reset_after: Micros,
}
