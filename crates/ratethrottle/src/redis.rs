//! Options, errors and statistics of [`RedisStorage`](crate::RedisStorage), and the crate `redis` that it uses.
//!
//! ```
//! use std::time::Duration;
//! use ratethrottle::{RedisStorage, redis::{Error, RedisStorageBuilder}};
//!
//! fn options(url: &str) -> RedisStorageBuilder {
//!     RedisStorage::builder(url).max_connections(2).response_timeout(Duration::from_millis(300))
//! }
//!
//! async fn storage(url: &str) -> Result<RedisStorage, Error> {
//!     options(url).connect().await
//! }
//! ```

pub use throttle_redis::{
    Error, Info, NodeInfo, RedisStorageBuilder, SharedConnection, Stats, redis,
};
