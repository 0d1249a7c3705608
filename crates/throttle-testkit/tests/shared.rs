//! A storage that claims to be shared, but is not, fails the suite.

use std::sync::Arc;

use throttle_core::{AtomicStorage, Scope, Wrapper};
use throttle_memory::MemoryStorage;
use throttle_testkit::Suite;

/// A storage whose scope is wrong: its limits are not shared.
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
#[should_panic(expected = "two limiters must share the limit")]
async fn a_storage_that_does_not_share_its_limits_fails() {
    let open = || async { Claimed { inner: Arc::new(MemoryStorage::new()) } };
    Suite::new(open).scope(Scope::Shared).run().await;
}
