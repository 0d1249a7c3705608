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
//! the default is one million. A key that comes when its shard is full takes the place of another: of
//! eight picked at random one that no longer matters, else the one that was used least. A key that was
//! denied counts as used most, so that a flood of fresh keys does not free those that are being
//! limited. What is displaced starts anew when it comes again. Of the values moka picks which are kept: it
//! may leave out a new one for one that was asked for often, and holds some more for a moment.
//!
//! A slot whose state no longer matters is cleared away by the requests that follow, a few at a time;
//! there is no thread or task to start, and none that could die.
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
