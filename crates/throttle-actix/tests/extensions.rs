//! The decisions stand beside the request, for handlers, and beside the response, for what is around.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use actix_web::{App, HttpMessage, HttpRequest, test::init_service, web};
use http::StatusCode;
use throttle_actix::{RateThrottle, ThrottleDecisions};
use throttle_core::{Algorithm, Decisions, Listed, Rule};
use throttle_memory::MemoryStorage;

use common::{Later, Log, call, get, get_path, limiter, lines};

fn told(decisions: &Decisions) -> String {
    let told = decisions.all().iter().map(|one| format!("{} {}", one.rule(), one.remaining()));
    told.collect::<Vec<_>>().join(", ")
}

async fn tell(decisions: ThrottleDecisions) -> String {
    told(&decisions)
}

async fn tell_if_known(decisions: Option<ThrottleDecisions>) -> &'static str {
    if decisions.is_some() { "known" } else { "unknown" }
}

#[actix_web::test]
async fn a_handler_reads_the_decisions_of_its_request() {
    for throttle in [
        RateThrottle::new(limiter(MemoryStorage::new(), 4)).limit("web", "9/hour"),
        RateThrottle::new(limiter(Later::default(), 4)).limit("web", "9/hour"),
    ] {
        let app = App::new().wrap(throttle.rule("api")).route("/", web::get().to(tell));
        let by_hand = async |request: HttpRequest| told(request.extensions().get().unwrap());
        let inner = async |ThrottleDecisions(one): ThrottleDecisions| told(&one);
        let app = app.route("/by-hand", web::get().to(by_hand));
        let app = init_service(app.route("/pattern", web::get().to(inner))).await;
        assert_eq!(call(&app, get()).await.body(), "web 8, api 3");
        assert_eq!(call(&app, get_path("/by-hand")).await.body(), "web 7, api 2");
        assert_eq!(call(&app, get_path("/pattern")).await.body(), "web 6, api 1");
    }
}

#[actix_web::test]
async fn what_is_around_the_throttle_reads_the_decisions_of_a_response() {
    for throttle in [
        RateThrottle::new(limiter(MemoryStorage::new(), 1)),
        RateThrottle::new(limiter(Later::default(), 1)),
    ] {
        let throttle = throttle.response_extension(true);
        let app = App::new().wrap(throttle).route("/", web::get().to(async || ""));
        let app = init_service(app).await;
        for (allowed, status) in [(true, StatusCode::OK), (false, StatusCode::TOO_MANY_REQUESTS)] {
            let response = call(&app, get()).await;
            assert_eq!(response.status(), status);
            let decisions = response.extensions().get::<Decisions>().expect("decisions");
            assert_eq!(decisions.is_allowed(), allowed);
            assert_eq!(decisions.reported().rule(), "api");
        }
    }
}

#[actix_web::test]
async fn a_dry_run_shows_the_handler_that_it_would_have_refused() {
    async fn verdict(decisions: ThrottleDecisions) -> String {
        decisions.into_inner().is_allowed().to_string()
    }
    let throttle = RateThrottle::new(limiter(MemoryStorage::new(), 1)).dry_run();
    let app = init_service(App::new().wrap(throttle).route("/", web::get().to(verdict))).await;
    for expected in ["true", "false"] {
        assert_eq!(call(&app, get()).await.body(), expected);
    }
}

#[actix_web::test]
async fn what_is_exempt_has_no_decisions() {
    let throttle = RateThrottle::new(limiter(MemoryStorage::new(), 1)).exempt(|_| true);
    let app = App::new().wrap(throttle).route("/", web::get().to(tell_if_known));
    let response = call(&init_service(app).await, get()).await;
    assert!(response.extensions().get::<Decisions>().is_none());
    assert_eq!(response.body(), "unknown");
}

#[actix_web::test]
async fn a_handler_that_asks_where_nothing_was_decided_is_answered_with_500_and_the_log_knows_why()
{
    let (log, _guard) = Log::start();
    let app = App::new().route("/", web::get().to(tell)).wrap(actix_web::middleware::from_fn(
        async |request, next: actix_web::middleware::Next<_>| {
            let response = next.call(request).await?;
            let error = response.response().error().expect("the extractor's error");
            tracing::error!("{error}");
            Ok(response)
        },
    ));
    let response = call(&init_service(app).await, get()).await;
    assert_eq!((response.status().as_u16(), response.body().len()), (500, 0));
    let logged = log.take();
    assert!(logged.contains("wrap `RateThrottle` around"), "{logged}");
}

#[actix_web::test]
async fn who_is_allowed_by_the_list_has_decisions_that_say_so() {
    let limiter = limiter(MemoryStorage::new(), 1);
    limiter.allow_list().add("192.0.2.1").unwrap();
    let app = App::new().wrap(RateThrottle::new(limiter).response_extension(true));
    let app = init_service(app.route("/", web::get().to(tell_if_known))).await;
    let response = call(&app, get()).await;
    let decisions = response.extensions().get::<Decisions>().expect("decisions");
    assert_eq!(decisions.reported().listed(), Some(Listed::Allowed));
    assert_eq!(response.body(), "known");
}

#[actix_web::test]
async fn of_nested_throttles_the_handler_sees_the_inner_and_the_outside_the_outer() {
    let limiter = limiter(MemoryStorage::new(), 10);
    let inner = Rule::per_hour("inner", 5).algorithm(Algorithm::FixedWindow);
    limiter.add_rule(inner).unwrap();
    let scope = web::scope("/in")
        .wrap(RateThrottle::new(&limiter).rule("inner"))
        .route("", web::get().to(tell));
    let outer = RateThrottle::new(&limiter).rule("api").response_extension(true);
    let app = App::new().wrap(outer).service(scope);
    let app = init_service(app.route("/out", web::get().to(tell))).await;
    let response = call(&app, get_path("/in")).await;
    let decisions = response.extensions().get::<Decisions>().expect("decisions");
    assert_eq!(decisions.reported().rule(), "api");
    assert_eq!(lines(&response, "ratelimit"), [r#""inner";r=4;t=3600, "api";r=9;t=60"#]);
    let policies = [r#""inner";q=5;w=3600, "api";q=10;w=60"#];
    assert_eq!(lines(&response, "ratelimit-policy"), policies);
    assert_eq!(response.body(), "inner 4");
    assert_eq!(call(&app, get_path("/out")).await.body(), "api 8");
}
