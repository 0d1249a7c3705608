//! The five algorithms: pure arithmetic on a [`State`], with the time as a parameter.
//!
//! Each keeps its state in whole numbers, so that after exactly one window exactly the limit is back.
//! A state is first brought to now (`advance`, which changes no answer), then asked (`decide`), and
//! only then, when every rule of the request admits, charged (`charge`).
//!
//! # A clock that steps back
//!
//! To a state that was last touched at a later time than now, time stood still: its moments move back
//! with the clock. So nothing is forgotten, no key is shut for longer than its window or block, and
//! more is admitted only for time that went forwards.

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
    bucket::turns_behind,
};
pub use self::{codec::CorruptState, state::State};

#[cfg(test)]
mod tests;
