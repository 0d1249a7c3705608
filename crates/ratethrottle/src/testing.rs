//! Conformance suites: what a storage and an adapter of your own have to pass.
//!
//! Enable the feature `testing` in your development dependencies. Tests of limits need no suite, only a
//! [`ManualClock`](crate::ManualClock).
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # mod tests {
//! use ratethrottle::{MemoryStorage, testing::Suite};
//!
//! #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
//! async fn my_storage_conforms() {
//!     Suite::new(|| async { MemoryStorage::new() }).run().await;
//! }
//! # }
//! ```

pub use throttle_testkit::{Log, Report, Suite, http, storages, vectors};
