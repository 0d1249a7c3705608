//! The in-memory storage of RateThrottle: bounded, sharded, without background tasks.
//!
//! # Contents
//!
//! The storage has a *slot* for each key under each rule. A slot is changed in place, under the lock of its shard: a
//! decision of one rule about an existing key allocates nothing, and is exact with any number of threads. The values of
//! the six operations of [`Storage`](throttle_core::Storage) are separate, in a [moka](https://docs.rs/moka) cache.
//!
//! # Eviction
//!
//! [`MemoryStorageBuilder::max_entries`] bounds the number of slots and, separately, the number of values of the six
//! operations. The default is one million each. A new key in a full shard evicts another key, whose next request starts
//! without a count. Keys are evicted in this order:
//!
//! 1. Keys whose state has expired.
//! 2. Keys whose latest request was allowed. Of eight random keys, the least frequently used one is evicted.
//! 3. Keys whose latest request was denied, and then blocked keys. The newest of them is evicted first.
//!
//! A flood of new keys therefore does not reset the keys that are being limited, whether its own requests are allowed,
//! denied or blocked. A denied or blocked key is evicted only if all of the eight keys and of the next 112 or more are
//! denied or blocked, too. If nine tenths of all slots are, this happens in less than one of 300,000 evictions. Beyond
//! that, the newest keys evict each other: keys that were blocked before the flood stay blocked, the number of slots
//! stays within the bound, and clients of the flood may be counted from zero before their block ends.
//!
//! moka selects which values of the six operations are kept. It may reject a new value in favor of one that is read
//! often, and exceeds the bound for short times.
//!
//! # Expiry
//!
//! Requests remove the slots with expired states, regardless of their keys: every 32nd request on a shard examines
//! 16 buckets of one shard, one shard after the other. No thread or task is needed. Without requests nothing is
//! removed.
//!
//! The bound is on entries, not on bytes: a key has an identity of up to 256 bytes, and the sliding window log needs 16
//! to 32 bytes for each request in the window.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod eviction;
mod key;
mod shard;
mod slot;
mod slots;
mod storage;
mod values;

pub use self::storage::{MemoryStorage, MemoryStorageBuilder};
