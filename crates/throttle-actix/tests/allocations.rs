//! The cost of the header fields of an allowed request.
#![cfg(feature = "memory")]

use std::alloc::System;

use actix_web::{
    App, HttpResponse,
    test::{TestRequest, call_service, init_service},
    web,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use throttle_actix::RateThrottle;
use throttle_core::Rule;
use throttle_http::Headers;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Returns the allocations of a hundred requests.
async fn allocations(headers: Headers) -> usize {
    let throttle = RateThrottle::new(Rule::per_day("api", 1_000_000)).headers(headers);
    let handler = web::get().to(async || HttpResponse::Ok().insert_header(("x", "y")).finish());
    let app = init_service(App::new().wrap(throttle).route("/", handler)).await;
    let mut counted = Vec::new();
    for _ in 0..3 {
        let region = Region::new(ALLOCATOR);
        for _ in 0..100 {
            let peer = ([192, 0, 2, 1], 50_000).into();
            call_service(&app, TestRequest::default().peer_addr(peer).to_request()).await;
        }
        counted.push(region.change().allocations);
    }
    // The thread that started this test sometimes allocates, too.
    counted.into_iter().min().unwrap_or_default()
}

#[actix_web::test]
async fn the_header_fields_of_a_request_cost_a_single_allocation() {
    let without = allocations(Headers::none()).await;
    let with = allocations(Headers::default()).await;
    assert_eq!(with - without, 100, "RateLimit; RateLimit-Policy is shared");
}
