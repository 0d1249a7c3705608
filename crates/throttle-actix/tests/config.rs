//! The configuration of the throttle.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use actix_web::{App, test::init_service, web};
use throttle_actix::RateThrottle;
use throttle_http::Headers;
use throttle_memory::MemoryStorage;

use common::{Log, call, get, limiter};

fn of(limit: u64) -> RateThrottle {
    RateThrottle::new(limiter(MemoryStorage::new(), limit))
}

#[test]
fn a_secret_is_not_shown() {
    let headers = Headers::default().partition_key("correct horse battery staple");
    let long = of(1).headers(headers).build().unwrap();
    let shown = format!("{long:?} {long:#?}");
    let bytes = format!("{:?}", b"correct");
    assert!(!shown.contains("horse") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn a_throttle_can_be_changed_and_built_again_after_it_was_built() {
    let throttle = of(1).limit("login", "5/minute").build().unwrap();
    let throttle = throttle.build().unwrap().rule("api").build().unwrap();
    assert!(throttle.rule("other").build().unwrap_err().to_string().contains("\"other\""));
}

#[actix_web::test]
async fn an_option_changes_only_the_throttle_that_it_returns() {
    let base = of(1).build().unwrap();
    let twice = base.clone().cost(2);
    for (throttle, status) in [(twice, 429), (base, 200)] {
        let app = App::new().wrap(throttle).default_service(web::to(async || "hello"));
        assert_eq!(call(&init_service(app).await, get()).await.status(), status);
    }
}

#[actix_web::test]
async fn a_configuration_error_is_logged_once_for_all_clones_of_a_throttle() {
    let (log, _guard) = Log::start();
    let throttle = of(1).rule("unknown");
    let app = App::new().wrap(throttle.clone()).default_service(web::to(async || "hello"));
    let _app = init_service(app.wrap(throttle)).await;
    let logged = log.take();
    assert!(logged.contains("ERROR") && logged.contains("\"unknown\""), "{logged}");
    assert_eq!(logged.lines().count(), 1, "{logged}");
}

#[actix_web::test]
async fn a_disabled_throttle_passes_requests_although_its_configuration_is_invalid() {
    let (log, _guard) = Log::start();
    let throttle = of(1).rule("unknown").enabled(false);
    let app = App::new().wrap(throttle).default_service(web::to(async || "hello"));
    let app = init_service(app).await;
    for _ in 0..2 {
        assert_eq!(call(&app, get()).await.status(), 200);
    }
    assert_eq!(log.take(), "");
}
