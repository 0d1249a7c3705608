//! Functions of the user's that panic, among the options and behind them, harm nobody else.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{pin::Pin, rc::Rc};

use actix_web::{App, HttpResponse, rt, test::init_service, web};
use bytes::Bytes;
use http::{Request, Response};
use throttle_actix::RateThrottle;
use throttle_core::Limiter;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{BODY, Trap, run_panics, run_panics_over_connections};

use common::{Later, Runtime, Server, call};

type Answer = Pin<Box<dyn Future<Output = Response<Bytes>>>>;
type Asking = Box<dyn Fn(Request<Bytes>) -> Answer>;

fn throttle(options: Options, limiter: Limiter) -> RateThrottle {
    RateThrottle::from_options(limiter, options).build().unwrap()
}

async fn respond(trap: web::Data<Trap>) -> HttpResponse {
    trap.spring();
    HttpResponse::Ok().body(BODY)
}

async fn app(options: Options, limiter: Limiter, trap: Trap) -> Asking {
    let app = App::new().app_data(web::Data::new(trap)).wrap(throttle(options, limiter));
    let app = Rc::new(init_service(app.default_service(web::to(respond))).await);
    Box::new(move |request| {
        let app = app.clone();
        Box::pin(async move { call(&*app, request).await })
    })
}

/// Asks in a task of its own, as servers do.
async fn ask(app: &Asking, request: Request<Bytes>) -> Option<Response<Bytes>> {
    rt::spawn(app(request)).await.ok()
}

#[actix_web::test]
async fn a_panic_is_that_of_one_request() {
    assert!(run_panics(MemoryStorage::new, app, ask).await > 100);
}

#[actix_web::test]
async fn a_panic_is_that_of_one_request_where_the_storage_answers_later() {
    assert!(run_panics(Later::default, app, ask).await > 100);
}

/// Is a server with one worker, which must answer what comes after its panics.
async fn server(options: Options, limiter: Limiter, trap: Trap) -> Rc<Server> {
    let (throttle, trap) = (throttle(options, limiter), web::Data::new(trap));
    Rc::new(Server::start(Runtime::System, 1, 1, move || {
        let app = App::new().app_data(trap.clone()).wrap(throttle.clone());
        app.default_service(web::to(respond))
    }))
}

/// Asks on a connection of its own, which is broken off by a panic.
async fn ask_server(server: &Rc<Server>, request: Request<Bytes>) -> Option<Response<Bytes>> {
    let client = request.headers()["x-client"].to_str().unwrap();
    let lines = ["GET / HTTP/1.1", "host: a", "connection: close", &format!("x-client: {client}")];
    let answered = server.ask(0, &format!("{}\r\n\r\n", lines.join("\r\n")));
    let mut response =
        Response::builder().status(http::StatusCode::from_u16(answered.status()).ok()?);
    for line in answered.head().lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    Some(response.body(answered.body().to_owned().into()).unwrap())
}

#[actix_web::test]
async fn a_worker_goes_on_after_a_panic() {
    assert!(run_panics_over_connections(MemoryStorage::new, server, ask_server).await > 100);
}
