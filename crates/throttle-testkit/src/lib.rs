//! The conformance suites that every storage and every adapter of RateThrottle passes, your own included.
//!
//! This is a test of a storage; [`http`] has that of an adapter.
//!
//! ```no_run
//! # use throttle_core::{Storage, StorageError, Value, async_trait}; use std::time::Duration;
//! # #[derive(Default)] struct MyStorage;
//! # #[async_trait] impl Storage for MyStorage {
//! # async fn get(&self, _: &str) -> Result<Option<Value>, StorageError> { Ok(None) }
//! # async fn set(&self, _: &str, _: Value, _: Option<Duration>) -> Result<(), StorageError> { Ok(()) }
//! # async fn increment(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, StorageError> { Ok(0) }
//! # async fn delete(&self, _: &str) -> Result<bool, StorageError> { Ok(false) }
//! # async fn exists(&self, _: &str) -> Result<bool, StorageError> { Ok(false) }
//! # async fn clear(&self) -> Result<u64, StorageError> { Ok(0) }
//! # }
//! #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
//! async fn my_storage_conforms() {
//!     throttle_testkit::Suite::new(|| async { MyStorage::default() }).run().await;
//! }
//! ```
//!
//! The suite replays [`vectors`] of decisions that were worked out in exact arithmetic, checks the
//! contract of the six operations, in real time too, and lets many tasks loose on few keys: never one
//! request more than the arithmetic allows, never one fewer. Where the storage counts requests under way,
//! never more than the limit hold a place, and none is lost.

#![expect(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod clocks;
mod concurrency;
mod fixtures;
mod histories;
pub mod http;
mod keys;
mod log;
mod mixed;
mod operations;
mod permits;
mod refunds;
mod rules;
pub mod storages;
mod trap;
pub mod vectors;

use std::{future::Future, sync::Arc};

use throttle_core::{AtomicStorage, Limiter, Scope, Storage};

pub use self::log::Log;

/// Runs every check against storages that a constructor makes.
///
/// The constructor is called for each group of checks, and may return clones of one storage: the
/// groups use different keys. Only the check of `clear` empties it. What it makes for [`Scope::Shared`]
/// must share its limits: let it open the same file, folder or server anew, as another process does.
/// The suite starts no processes; a test of yours that does is worth its lines.
#[derive(Debug)]
#[must_use = "a suite that is not run checks nothing"]
pub struct Suite<F> {
    make: F,
    scope: Scope,
}

/// Says how much was checked, so that a suite that ran nothing cannot look green.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How many histories were replayed.
    pub vectors: usize,
    /// How many decisions they held.
    pub decisions: usize,
    /// How many other checks passed.
    pub checks: usize,
    /// What the storage does not offer, so that it could not be checked.
    pub unchecked: Vec<&'static str>,
}

impl<F, Fut, S> Suite<F>
where
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
    S: Storage,
{
    /// Takes a constructor of storages that keep limits within one process.
    pub fn new(make: F) -> Self {
        Self { make, scope: Scope::Process }
    }

    /// Expects another scope: [`Scope::Shared`] for a storage that decides for several processes.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Runs everything, in a tokio runtime that has threads.
    ///
    /// # Panics
    ///
    /// At the first check that fails, with what was expected and what came.
    pub async fn run(self) -> Report {
        let mut report = Report::default();
        assert_eq!(
            self.limiter().await.status().scope,
            self.scope,
            "left is the scope of the storage, right the one that the suite was told by `Suite::scope`. A \
             storage has Scope::Process unless it implements AtomicStorage, and returns itself from \
             Storage::atomic"
        );

        // What the vectors stand on comes first: it says more plainly what is wrong, and sooner.
        report.checks += operations::check(&self.storage().await).await;
        (report.vectors, report.decisions) = vectors::replay(&self.limiter_of_clock().await).await;
        report.checks += keys::check(&self.storage().await).await;
        report.checks += rules::check(&self.storage().await).await;
        report.checks += mixed::check(&self.storage().await).await;
        report.checks += histories::check(&self.storage().await).await;
        report.checks += refunds::check(&self.storage().await).await;
        report.checks += clocks::check(&self.storage().await).await;
        let storage = self.storage().await;
        let other = match self.scope {
            Scope::Process => Arc::clone(&storage),
            Scope::Shared => self.storage().await,
        };
        report.checks += concurrency::check(&storage, &other).await;
        match permits::check(&self.storage().await).await {
            0 => report.unchecked.push("limits of requests in flight"),
            checks => report.checks += checks,
        }
        report.checks += operations::check_clear(&self.storage().await).await;
        report
    }

    async fn storage(&self) -> Arc<dyn AtomicStorage> {
        Arc::new((self.make)().await).atomic()
    }

    async fn limiter(&self) -> Limiter {
        Limiter::new((self.make)().await)
    }

    async fn limiter_of_clock(&self) -> (Limiter, throttle_core::ManualClock) {
        let clock = throttle_core::ManualClock::default();
        (Limiter::builder((self.make)().await).clock(clock.clone()).build(), clock)
    }
}
