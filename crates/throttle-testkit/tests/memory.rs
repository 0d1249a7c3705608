//! The in-memory storage passes the suite.

use throttle_memory::MemoryStorage;
use throttle_testkit::Suite;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_storage_conforms() {
    let report = Suite::new(|| async { MemoryStorage::new() }).run().await;
    assert!(report.vectors == 225 && report.checks > 80, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shared_memory_storage_conforms() {
    let storage = MemoryStorage::new();
    Suite::new(|| async { storage.clone() }).run().await;
}
