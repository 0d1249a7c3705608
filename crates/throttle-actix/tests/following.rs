//! Requests that wait for their turn, and those whose charge depends on their response.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use actix_web::{
    App, Error, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    rt,
    test::init_service,
    web,
};
use throttle_actix::RateThrottle;
use throttle_core::Limiter;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{Handler, run_following};

use common::{Later, call, get, limiter, to_actix_response};

fn throttle(options: Options, limiter: Limiter) -> RateThrottle {
    RateThrottle::from_options(limiter, options).build().unwrap()
}

async fn respond(request: HttpRequest, handler: web::Data<Handler>) -> HttpResponse {
    let what = request.headers().get("x-do").map_or("", |what| what.to_str().unwrap());
    to_actix_response(handler.as_ref().clone().answer(what).await)
}

async fn app(
    options: Options,
    limiter: Limiter,
    handler: Handler,
) -> impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error>
{
    let app = App::new().app_data(web::Data::new(handler)).wrap(throttle(options, limiter));
    init_service(app.default_service(web::to(respond))).await
}

#[actix_web::test]
async fn turns_and_outcomes_are_those_of_every_adapter() {
    let ask = async |app: &_, request| call(app, request).await;
    run_following(MemoryStorage::new, app, ask).await;
}

#[actix_web::test]
async fn turns_and_outcomes_are_those_of_every_adapter_where_the_storage_answers_later() {
    let ask = async |app: &_, request| call(app, request).await;
    run_following(Later::default, app, ask).await;
}

#[actix_web::test]
async fn a_handler_that_panics_stays_charged() {
    let limiter = limiter(MemoryStorage::new(), 2);
    let panics = async || -> &'static str { std::panic::resume_unwind(Box::new("on purpose")) };
    let throttle = throttle(Options::new().charge_if(|_| false), limiter.clone());
    let app = init_service(App::new().wrap(throttle).default_service(web::to(panics))).await;
    assert!(rt::spawn(async move { call(&app, get()).await }).await.is_err());
    assert_eq!(limiter.peek("192.0.2.1", "api").await.unwrap().remaining(), 1);
}
