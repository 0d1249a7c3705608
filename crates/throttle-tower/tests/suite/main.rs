//! The suite of all adapters, in each way in which the layer can wrap a handler.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod adapter;

use throttle_testkit::http::{Report, run, run_part};

use self::adapter::Tower;

fn assert_complete(report: &Report, unchecked: &[&str]) {
    assert!(report.scenarios > 500 && report.answers > 1000, "{report:?}");
    assert_eq!(report.unchecked, unchecked);
}

#[tokio::test]
async fn a_router_passes_the_suite() {
    assert_complete(&run(Tower::Router).await, &[]);
}

#[tokio::test]
async fn the_routes_of_a_router_pass_the_suite() {
    assert_complete(&run(Tower::Routes).await, &["HTTP/1.1 over sockets", "HTTP/2 over sockets"]);
}

#[tokio::test]
async fn a_plain_service_passes_the_suite() {
    assert_complete(&run(Tower::Plain).await, &["routes"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_panic_in_one_thread_affects_only_its_request() {
    assert!(run_part(Tower::Tasks, "panics").await.scenarios > 100);
}
