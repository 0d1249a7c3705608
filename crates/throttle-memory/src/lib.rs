//! The in-memory storage of RateThrottle: bounded, sharded, nothing to start.
//!
//! # What is held
//!
//! One slot for each key under each rule, changed in place under the lock of its shard: a decision by one
//! rule on a key that exists allocates nothing, and is exact whatever number of threads asks. The six
//! operations of [`Storage`](throttle_core::Storage) keep their values apart, in a
//! [moka](https://docs.rs/moka) cache.
//!
//! # When it is full
//!
//! [`MemoryStorageBuilder::max_entries`] bounds the slots, and the values of the six operations, each;
//! the default is one million. A key that comes when its shard is full takes the place of another, which starts
//! anew when it comes again. In this order:
//!
//! 1. keys that no longer matter
//! 2. keys whose latest request was allowed: of eight picked at random the one that was used least
//! 3. keys whose latest request was denied, and then keys that are blocked: of each the one that came last
//!
//! So a flood of fresh keys does not free those that are being limited, whether its requests are allowed, denied
//! or blocked. A key that is denied or blocked can go only where all of the eight and of the next 112 or more are,
//! too. While they are nine tenths of the slots, that is fewer than one in 300,000 of the keys that go. Beyond
//! that the keys that came last displace each other: those that were blocked before the flood stay blocked, the
//! slots stay within the bound, and clients of the flood may begin anew before their block is over.
//!
//! Of the values of the six operations moka picks which are kept: it may leave out a new one for one that was
//! asked for often, and holds some more for a moment.
//!
//! # When it is over
//!
//! A slot whose state no longer matters is cleared away by the requests that follow, whatever their keys: each 32nd
//! looks at 16 places of one shard after the other. There is no thread or task to start, and none that could
//! die. Without requests nothing is cleared away.
//!
//! The bound is on entries: a key takes up to 256 bytes of identity, and the sliding window log 16 to
//! 32 bytes for each request that it remembers.

mod eviction;
mod key;
mod shard;
mod slot;
mod slots;
mod storage;
mod values;

pub use self::storage::{MemoryStorage, MemoryStorageBuilder};
