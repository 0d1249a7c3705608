//! Thousands of real connections that are aborted.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "the suite uses more of it")]
#[path = "suite/adapter.rs"]
mod adapter;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use throttle_testkit::http::break_connections;

use self::adapter::Tower;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_aborted_connections_leave_no_permit_and_no_memory() {
    let live_bytes = || {
        let stats = ALLOCATOR.stats();
        stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
    };
    break_connections(Tower::Router, live_bytes).await;
}
