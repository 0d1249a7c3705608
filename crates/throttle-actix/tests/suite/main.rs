//! The suite of all adapters, for each thing that the middleware can wrap.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod adapter;
#[path = "../common/mod.rs"]
mod common;

use throttle_testkit::http::{Report, run};

use self::adapter::Actix;

const SOCKETS: &[&str] = &["HTTP/1.1 over sockets", "HTTP/2 over sockets"];

fn assert_complete(report: &Report, unchecked: &[&str]) {
    assert!(report.scenarios > 500 && report.answers > 1000, "{report:?}");
    assert_eq!(report.unchecked, unchecked);
}

#[actix_web::test]
async fn an_app_passes_the_suite() {
    assert_complete(&run(Actix::App).await, &[]);
}

#[actix_web::test]
async fn an_app_with_a_throttle_in_a_compat_passes_the_suite() {
    assert_complete(&run(Actix::Compat).await, SOCKETS);
}

#[actix_web::test]
async fn a_scope_passes_the_suite() {
    assert_complete(&run(Actix::Scope).await, SOCKETS);
}

#[actix_web::test]
async fn resources_pass_the_suite() {
    assert_complete(&run(Actix::Resources).await, SOCKETS);
}
