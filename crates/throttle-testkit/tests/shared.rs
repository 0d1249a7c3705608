//! A storage that says it is shared, and is not, fails the suite.

use std::sync::Arc;

use throttle_core::{AtomicStorage, Scope, Wrapper};
use throttle_memory::MemoryStorage;
use throttle_testkit::Suite;

/// Says that its limits are shared.
#[derive(Clone)]
struct Claimed {
    inner: Arc<dyn AtomicStorage>,
}

impl Wrapper for Claimed {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[should_panic(expected = "two limiters share what the suite's storages keep")]
async fn a_storage_that_shares_nothing_with_one_that_is_opened_anew_fails() {
    let open = || async { Claimed { inner: Arc::new(MemoryStorage::new()) } };
    Suite::new(open).scope(Scope::Shared).run().await;
}
