//! Conformance suites for custom storages and adapters.
//!
//! Enable the feature `testing` in your development dependencies. To test your limits, use a
//! [`ManualClock`](crate::ManualClock) instead; no suite is needed.
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
