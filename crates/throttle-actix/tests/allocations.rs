//! The allocations of header fields and of rejections.
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
async fn allocations(headers: Headers, limit: u64) -> usize {
    let throttle = RateThrottle::new(Rule::per_day("api", limit)).headers(headers);
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
    let without = allocations(Headers::none(), 1_000_000).await;
    let with = allocations(Headers::default(), 1_000_000).await;
    assert_eq!(with - without, 100, "RateLimit; RateLimit-Policy is shared");
}

#[actix_web::test]
async fn a_rejection_allocates_at_most_as_often_as_an_allowed_request() {
    let allowed = allocations(Headers::default(), 1_000_000).await;
    let rejected = allocations(Headers::default(), 1).await;
    assert!(
        rejected <= allowed,
        "{rejected} for 100 rejections, {allowed} for 100 allowed requests"
    );
}
