//! The script that decides a whole request in Redis, and how it is called.
//!
//! It is the twin of `throttle_core`'s arithmetic: [`throttle_core::acquire`], `peek` and `refund`
//! over the algorithms' states, in Lua ([`CHECK`](crate::lua::CHECK)). The names of core's table stand in
//! it for its numbers ([`throttle_core::tag::fill_in`]).
//!
//! # Commands
//!
//! Clients send `EVALSHA` and `SCRIPT LOAD`. Within the script are used, of any key `GET`, `SET`,
//! `UNLINK` and `TIME`; of a sliding window log also `LRANGE`, `LINDEX`, `LLEN`, `LSET`, `LTRIM`,
//! `LREM`, `RPUSH` and `PEXPIRE`. All are in Redis 6.2 and in Valkey.
//!
//! # Layout
//!
//! Numbers are whole ones, written as big-endian doubles, which hold them exactly up to 2^53.
//!
//! `KEYS` has one key for each charge. `ARGV` has what to do (`acquire`, `peek`, `refund`), the
//! limiter's own time in microseconds (empty: the server's), and for each key a record:
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | the algorithm, by its number in `throttle_core::tag` |
//! | 6 × 8 | limit, window, capacity, block (0: none), cost, longest delay (-1: none) |
//! | 3 × 8 | of a refund: the receipt's mark (-1: no receipt), its level in whole windows, and what is left over |
//!
//! A refund is answered with `OK`, everything else with one string, a record for each key:
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | flags: 1 allowed, 2 blocked, 4 there is a wait, 8 there is a receipt, 16 another algorithm counts too |
//! | 7 × 8 | time, remaining, reset after, wait (the delay, or when to retry), the receipt's mark, and its level as the sum of two |
//!
//! A key that holds no state of ours is answered with the error `RTCORRUPT key N: why`, where N counts
//! from 1; nothing was written then.

mod reply;
mod request;

pub(crate) use self::{
    reply::{corrupt, outcome, refunded},
    request::{MAX_LOG_LIMIT, Op, acquire, refund},
};

#[cfg(test)]
mod tests;
