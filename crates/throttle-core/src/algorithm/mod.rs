//! The five algorithms: arithmetic on a [`State`], with the time as a parameter.
//!
//! A *state* has the counts of one key under one rule. Its numbers are whole, so exactly the limit is free again
//! after exactly one window. A check has three steps:
//!
//! 1. `advance` moves the state to the current time: it drops expired counts, and drains buckets. It does not change
//!    any decision.
//! 2. `decide` returns whether a cost is allowed. It does not change the state.
//! 3. `charge` adds the cost. It is called only if every rule of the request allows it. The *receipt* that it returns
//!    identifies the charge, so that `refund` can undo it.
//!
//! A key may be *blocked* for some time after a denial; all its requests are denied then.
//!
//! # A clock that steps back
//!
//! If the state is from a later time than now, its times move back with the clock, as if no time had passed. No count
//! is lost, no key is blocked for longer than its window or block, and capacity becomes free only for time that really
//! passes.

mod answer;
mod block;
mod bucket;
mod codec;
mod fixed_window;
mod freed_slots;
pub mod mixed;
mod sliding_counter;
mod sliding_log;
mod state;
pub mod tag;

pub(crate) use self::{
    answer::{ChargeOutcome, Decided},
    bucket::fitting_behind,
};
pub use self::{codec::CorruptState, state::State};

#[cfg(test)]
mod tests;
