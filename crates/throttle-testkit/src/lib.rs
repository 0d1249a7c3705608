//! Conformance test suites for storages and adapters of RateThrottle, including your own.
//!
//! [`Suite`] tests a storage. For adapters, see [`http`].
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
//! The suite replays test [`vectors`], whose expected decisions are computed in exact arithmetic. It checks
//! the contract of the six operations, including expiry in real time. It also runs many concurrent tasks
//! on a few keys and expects exactly as many allowed requests as the arithmetic gives. If the storage
//! counts requests in flight, the suite checks that the limit is never exceeded and that every permit is
//! released.

#![cfg_attr(docsrs, feature(doc_cfg))]
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

/// A conformance test suite for a storage.
///
/// The suite calls its constructor for each group of checks. The constructor may return clones of one
/// storage, because the groups use different keys. The check of `clear` runs last and deletes everything.
///
/// With [`Scope::Shared`], all storages that the constructor returns must share their limits. Open the same
/// file, directory or server each time, as another process would. The suite itself starts no processes, so
/// consider a separate test that does.
#[derive(Debug)]
#[must_use = "a suite that is not run checks nothing"]
pub struct Suite<F> {
    make: F,
    scope: Scope,
}

/// The result of a run: the number of checks, so that a run that checked nothing does not look like a success.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The number of histories that were replayed.
    pub vectors: usize,
    /// The number of decisions in these histories.
    pub decisions: usize,
    /// The number of other checks that passed.
    pub checks: usize,
    /// The features that were not checked, because the storage does not offer them.
    pub unchecked: Vec<&'static str>,
}

impl<F, Fut, S> Suite<F>
where
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
    S: Storage,
{
    /// Creates a suite for storages that keep limits within one process.
    pub fn new(make: F) -> Self {
        Self { make, scope: Scope::Process }
    }

    /// Sets the expected scope: [`Scope::Shared`] for a storage whose limits several processes share.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Runs all checks.
    ///
    /// Call it in a multi-threaded tokio runtime.
    ///
    /// # Panics
    ///
    /// Panics at the first check that fails, with the expected and the actual result.
    pub async fn run(self) -> Report {
        let mut report = Report::default();
        assert_eq!(
            self.limiter().await.status().scope,
            self.scope,
            "the scope of the storage (left) differs from the scope that the suite expects (right). Set the \
             expected scope by `Suite::scope`. A storage has Scope::Process unless it implements \
             AtomicStorage and returns itself from Storage::atomic"
        );

        // The operations come first: everything else depends on them, and their failures are easier to read.
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
