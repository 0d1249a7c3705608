//! How handlers of Actix read the decisions.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use actix_web::{App, HttpMessage, HttpRequest, test::init_service, web};
use throttle_actix::{RateDecisions, RateThrottle};
use throttle_core::Decisions;
use throttle_memory::MemoryStorage;

use common::{Log, call, get_path, limiter};

fn remaining(decisions: &Decisions) -> String {
    decisions.most_restrictive().remaining().to_string()
}

async fn show(decisions: RateDecisions) -> String {
    remaining(&decisions)
}

async fn show_if_known(decisions: Option<RateDecisions>) -> String {
    decisions.map_or("unknown".to_owned(), |decisions| remaining(&decisions.into_inner()))
}

#[actix_web::test]
async fn a_handler_reads_the_decisions_of_its_request() {
    let throttle = RateThrottle::new(limiter(MemoryStorage::new(), 9));
    let app = App::new().wrap(throttle.exempt(|head| head.path() == "/exempt"));
    let manually = async |request: HttpRequest| remaining(request.extensions().get().unwrap());
    let inner = async |RateDecisions(one): RateDecisions| remaining(&one);
    let app = app
        .route("/extractor", web::get().to(show))
        .route("/manually", web::get().to(manually))
        .route("/pattern", web::get().to(inner))
        .route("/option", web::get().to(show_if_known))
        .route("/exempt", web::get().to(show_if_known));
    let app = init_service(app).await;
    for (path, expected) in [
        ("/extractor", "8"),
        ("/manually", "7"),
        ("/pattern", "6"),
        ("/option", "5"),
        ("/exempt", "unknown"),
    ] {
        assert_eq!(call(&app, get_path(path)).await.body(), expected);
    }
}

#[actix_web::test]
async fn without_a_throttle_a_handler_that_takes_decisions_is_answered_with_500_and_a_logged_reason()
 {
    let (log, _guard) = Log::start();
    let app = App::new().route("/", web::get().to(show)).wrap(actix_web::middleware::from_fn(
        async |request, next: actix_web::middleware::Next<_>| {
            let response = next.call(request).await?;
            let error = response.response().error().expect("the extractor's error");
            tracing::error!("{error}");
            Ok(response)
        },
    ));
    let response = call(&init_service(app).await, get_path("/")).await;
    assert_eq!((response.status().as_u16(), response.body().len()), (500, 0));
    let logged = log.take();
    assert!(logged.contains("wrap its handler in the middleware"), "{logged}");
}
