//! A limiter for each worker causes a warning. It is logged once per process, so this program has a single test.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::{Duration, Instant};

use actix_web::{App, web};
use throttle_actix::RateThrottle;
use throttle_core::{Limiter, Rule};
use throttle_memory::MemoryStorage;

use common::{Log, Runtime, Server};

fn made() -> Limiter {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("api", 9)).unwrap();
    limiter
}

#[test]
fn a_limiter_for_each_worker_causes_a_warning_and_a_shared_limiter_does_not() {
    let log = Log::start_everywhere();
    let outside = made();
    let other = made();
    let right = move || {
        let one = App::new().wrap(RateThrottle::new(&outside));
        one.wrap(RateThrottle::new(&other)).route("/", web::get().to(async || "hello"))
    };
    for runtime in [Runtime::System, Runtime::Tokio] {
        let server = Server::start(runtime, 3, 2, right.clone());
        assert_eq!(server.get("/").status(), 200);
    }
    assert!(!log.take().contains("each worker"), "all workers share the limiter");

    let wrong =
        || App::new().wrap(RateThrottle::new(made())).route("/", web::get().to(async || "hello"));
    let server = Server::start(Runtime::System, 3, 1, wrong);
    assert_eq!(server.get("/").status(), 200);
    // The workers start one after the other.
    let mut lines = String::new();
    let begun = Instant::now();
    while !lines.contains("each worker") && begun.elapsed() < Duration::from_secs(30) {
        assert_ne!(server.get("/").status(), 500);
        lines += &log.take();
    }
    drop(server);
    lines += &log.take();
    assert_eq!(lines.matches("each worker").count(), 1, "{lines}");
    assert!(lines.contains("HttpServer::new"), "{lines}");
}
