//! The script that decides a whole request in Redis: its arguments and its answer.
//!
//! The script ([`CHECK`](crate::lua::CHECK)) implements `throttle_core`'s arithmetic in Lua:
//! [`throttle_core::acquire`], `peek` and `refund` on the states of the algorithms. Both must give the same
//! answers, and tests compare them. The script uses the names of core's table of algorithm numbers and state
//! flags; [`throttle_core::tag::fill_in`] replaces the names with their numbers.
//!
//! # Commands
//!
//! Clients send `EVALSHA` and `SCRIPT LOAD`. For every algorithm the script uses `GET`, `SET`, `UNLINK` and
//! `TIME`; for a sliding window log also `LRANGE`, `LINDEX`, `LLEN`, `LSET`, `LTRIM`, `LREM`, `RPUSH` and
//! `PEXPIRE`. Redis 6.2 and Valkey have all of them.
//!
//! # Layout
//!
//! All numbers are integers, encoded as big-endian doubles, which are exact up to 2^53.
//!
//! `KEYS` has one key for each charge. `ARGV` has the operation (`acquire`, `peek` or `refund`), the limiter's
//! own time in microseconds (empty for the server's time), and a record for each key:
//!
//! | bytes | content |
//! | --- | --- |
//! | 1 | the algorithm, by its number in `throttle_core::tag` |
//! | 6 × 8 | limit, window, capacity, block (0: none), cost, longest delay (-1: none) |
//! | 3 × 8 | only for a refund: the receipt's time of charge (-1: no receipt), its fill level in whole windows, and the remainder |
//!
//! The answer to a refund is `OK`. The answer to the other operations is a string with a record for each key:
//!
//! | bytes | content |
//! | --- | --- |
//! | 1 | flags: 1 allowed, 2 blocked, 4 has a wait, 8 has a receipt, 16 another algorithm has a state under this key, too |
//! | 7 × 8 | time, remaining, reset after, wait (the delay, or the time until a retry), the receipt's time of charge, and its fill level as the sum of two numbers |
//!
//! If a key has a value that is not a valid state, the script writes nothing and answers with the error
//! `RTCORRUPT key N: reason`. N is the number of the key, starting at 1.

mod reply;
mod request;

pub(crate) use self::{
    reply::{corrupt, outcome, refunded},
    request::{MAX_LOG_LIMIT, Op, acquire, refund},
};

#[cfg(test)]
mod tests;
