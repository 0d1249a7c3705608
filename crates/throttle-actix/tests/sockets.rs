//! Thousands of real connections that are aborted.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[expect(dead_code, reason = "the suite uses more of it")]
#[path = "suite/adapter.rs"]
mod adapter;
mod common;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use throttle_testkit::http::break_connections;

use self::adapter::Actix;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[actix_web::test]
async fn ten_thousand_aborted_connections_leave_no_permit_and_no_memory() {
    let live_bytes = || {
        let stats = ALLOCATOR.stats();
        stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
    };
    break_connections(Actix::App, live_bytes).await;
}
