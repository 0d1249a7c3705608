//! The table of HTTP cases, through each thing that a throttle is wrapped around, over a storage that
//! answers at once and over one that answers later.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    middleware::Compat,
    test::init_service,
    web,
};
use throttle_actix::RateThrottle;
use throttle_core::Limiter;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{answers, handler, nested_answers, run, run_nested};

use common::{Later, call};

fn throttle(options: Options, limiter: Limiter) -> RateThrottle {
    RateThrottle::from_options(limiter, options).build().unwrap()
}

async fn respond() -> HttpResponse {
    let handler = handler();
    let content_type = handler.headers()["content-type"].to_str().unwrap().to_owned();
    HttpResponse::Ok().content_type(content_type).body(handler.into_body())
}

type Request = actix_http::Request;

async fn app(
    options: Options,
    limiter: Limiter,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let app = App::new().wrap(throttle(options, limiter));
    init_service(app.default_service(web::to(respond))).await
}

async fn scope(
    options: Options,
    limiter: Limiter,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let scope = web::scope("").wrap(throttle(options, limiter));
    init_service(App::new().service(scope.default_service(web::to(respond)))).await
}

async fn resource(
    options: Options,
    limiter: Limiter,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let resource = web::resource(["/", "/{path:.*}"]).wrap(throttle(options, limiter)).to(respond);
    init_service(App::new().service(resource)).await
}

async fn compat(
    options: Options,
    limiter: Limiter,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let app = App::new().wrap(Compat::new(throttle(options, limiter)));
    init_service(app.default_service(web::to(respond))).await
}

async fn twice(
    outer: Options,
    inner: Options,
    limiter: Limiter,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let app = App::new().wrap(throttle(inner, limiter.clone())).wrap(throttle(outer, limiter));
    init_service(app.default_service(web::to(respond))).await
}

async fn resource_in_an_app(
    outer: Options,
    inner: Options,
    limiter: Limiter,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let inner = throttle(inner, limiter.clone());
    let resource = web::resource(["/", "/{path:.*}"]).wrap(inner).to(respond);
    init_service(App::new().wrap(throttle(outer, limiter)).service(resource)).await
}

#[actix_web::test]
async fn an_app_with_the_throttle_answers_as_the_table_says() {
    assert_eq!(
        run(MemoryStorage::new, app, async |app, request| call(app, request).await).await,
        answers()
    );
}

#[actix_web::test]
async fn a_scope_with_the_throttle_answers_as_the_table_says() {
    assert_eq!(
        run(MemoryStorage::new, scope, async |app, request| call(app, request).await).await,
        answers()
    );
}

#[actix_web::test]
async fn a_resource_with_the_throttle_answers_as_the_table_says() {
    assert_eq!(
        run(MemoryStorage::new, resource, async |app, request| call(app, request).await).await,
        answers()
    );
}

#[actix_web::test]
async fn a_throttle_in_a_compat_answers_as_the_table_says() {
    assert_eq!(
        run(MemoryStorage::new, compat, async |app, request| call(app, request).await).await,
        answers()
    );
}

#[actix_web::test]
async fn an_app_over_a_storage_that_answers_later_answers_as_the_table_says() {
    assert_eq!(
        run(Later::default, app, async |app, request| call(app, request).await).await,
        answers()
    );
}

#[actix_web::test]
async fn a_resource_over_a_storage_that_answers_later_answers_as_the_table_says() {
    assert_eq!(
        run(Later::default, resource, async |app, request| call(app, request).await).await,
        answers()
    );
}

#[actix_web::test]
async fn throttles_within_each_other_answer_as_the_table_says() {
    let answers = nested_answers();
    let ask = async |app: &_, request| call(app, request).await;
    assert_eq!(run_nested(MemoryStorage::new, twice, ask).await, answers);
    let ask = async |app: &_, request| call(app, request).await;
    assert_eq!(run_nested(MemoryStorage::new, resource_in_an_app, ask).await, answers);
    let ask = async |app: &_, request| call(app, request).await;
    assert_eq!(run_nested(Later::default, twice, ask).await, answers);
}
