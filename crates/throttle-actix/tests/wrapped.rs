//! The wrapped app works as without a throttle: routes, errors, bodies, panics.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    cell::Cell,
    convert::Infallible,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_web::{
    App, Error, HttpResponse, ResponseError,
    body::{BodySize, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse},
    middleware::{Compat, Condition, DefaultHeaders, ErrorHandlerResponse, ErrorHandlers, Logger},
    middleware::{Next, from_fn},
    test::init_service,
    web::{self, Bytes},
};
use throttle_actix::RateThrottle;
use throttle_core::{Limiter, Rule};
use throttle_http::Headers;
use throttle_memory::MemoryStorage;

use common::{Later, Runtime, Server, call, field, get, get_path, limiter, lines, to_actix};

fn of(limit: u64) -> RateThrottle {
    RateThrottle::new(limiter(MemoryStorage::new(), limit))
}

#[derive(Debug)]
struct NotYours;

impl fmt::Display for NotYours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not yours")
    }
}

impl ResponseError for NotYours {
    fn status_code(&self) -> actix_web::http::StatusCode {
        actix_web::http::StatusCode::FORBIDDEN
    }
}

async fn deny(_: ServiceRequest, _: Next<impl MessageBody>) -> Result<ServiceResponse, Error> {
    Err(NotYours.into())
}

#[actix_web::test]
async fn scopes_and_resources_are_limited_separately_from_others() {
    let scope = web::scope("/api")
        .wrap(of(2))
        .service(web::resource("/a").wrap(of(1)).to(async || "a"))
        .route("/b", web::get().to(async || "b"));
    let app = init_service(App::new().service(scope).route("/", web::get().to(async || ""))).await;
    let mut statuses = Vec::new();
    for path in ["/api/a", "/api/a", "/api/b", "/api/none", "/", "/", "/"] {
        statuses.push(call(&app, get_path(path)).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 429, 429, 200, 200, 200]);
}

#[actix_web::test]
async fn nested_scopes_are_each_limited_and_the_fields_list_all_rules() {
    for late in [false, true] {
        let named = |name: &str, limit| match late {
            false => RateThrottle::new(Rule::per_day(name, limit)),
            true => {
                let limiter = Limiter::new(Later::default());
                limiter.add_rule(Rule::per_day(name, limit)).unwrap();
                RateThrottle::new(limiter)
            }
        };
        let inner =
            web::scope("/in").wrap(named("inner", 1)).route("/a", web::get().to(async || "a"));
        let outer = web::scope("/out").wrap(named("outer", 3)).service(inner);
        let app = outer.route("/b", web::get().to(async || "b"));
        let app = init_service(App::new().service(app)).await;
        let mut responses = Vec::new();
        for path in ["/out/in/a", "/out/in/a", "/out/b", "/out/b", "/out/in/a"] {
            let response = call(&app, get_path(path)).await;
            let fields = response.headers().get_all("ratelimit-policy").iter();
            let rules: Vec<_> =
                fields.flat_map(|line| line.to_str().unwrap().split(", ")).collect();
            responses.push((response.status().as_u16(), rules.len()));
        }
        assert_eq!(responses, [(200, 2), (429, 2), (200, 1), (429, 1), (429, 1)], "{late}");
    }
}

#[actix_web::test]
async fn path_parameters_and_guards_are_matched_behind_the_throttle() {
    let route = || {
        let route = web::get().guard(actix_web::guard::Header("x-in", "1"));
        route.to(async |path: web::Path<(String, u32)>| format!("{} {}", path.0, path.1))
    };
    for throttle in [of(9), RateThrottle::new(limiter(Later::default(), 9))] {
        let resource = web::resource("/{name}/{n}").route(route()).wrap(throttle.clone());
        let app = App::new().wrap(throttle).service(web::scope("/api").service(resource));
        let app = init_service(app).await;
        let mut request = get_path("/api/tom/7");
        request.headers_mut().insert("x-in", "1".parse().unwrap());
        let response = call(&app, request).await;
        assert_eq!(response.body(), "tom 7");
        assert_eq!(call(&app, get_path("/api/tom/7")).await.status(), 405);
    }
}

#[actix_web::test]
async fn the_body_of_a_request_reaches_the_handler() {
    for throttle in [of(9), RateThrottle::new(limiter(Later::default(), 9))] {
        let app = App::new().wrap(throttle).route("/", web::post().to(async |body: Bytes| body));
        let mut request = get().map(|_| Bytes::from_static(b"the whole body"));
        *request.method_mut() = http::Method::POST;
        assert_eq!(call(&init_service(app).await, request).await.body(), "the whole body");
    }
}

#[actix_web::test]
async fn the_error_of_a_handler_is_a_response_with_header_fields_and_the_error() {
    let fails = async || Err::<&str, _>(NotYours);
    let app = init_service(App::new().wrap(of(9)).route("/", web::get().to(fails))).await;
    let response = app.call(to_actix(get())).await.unwrap();
    assert!(response.response().error().unwrap().as_error::<NotYours>().is_some());
    let response = common::whole(response).await;
    assert_eq!((response.status().as_u16(), response.body()), (403, &Bytes::from("not yours")));
    assert_eq!(field(&response, "ratelimit"), r#""api";r=8;t=60"#);
}

#[actix_web::test]
async fn the_error_of_an_inner_middleware_is_returned_unchanged_and_stays_charged() {
    for throttle in [of(1), RateThrottle::new(limiter(Later::default(), 1))] {
        let app = App::new().wrap(from_fn(deny)).wrap(throttle);
        let app = init_service(app.route("/", web::get().to(async || ""))).await;
        let error = app.call(to_actix(get())).await.map(drop).unwrap_err();
        assert!(error.as_error::<NotYours>().is_some());
        assert_eq!(app.call(to_actix(get())).await.unwrap().status().as_u16(), 429);
    }
}

#[actix_web::test]
async fn an_error_releases_the_permit_whether_a_handler_or_a_middleware_returns_it() {
    let limiter = Limiter::new(MemoryStorage::new());
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    let throttle = RateThrottle::new(limiter).concurrency(uploads.clone());
    let fails = async || Err::<&str, _>(actix_web::error::ErrorBadGateway("no upstream"));
    let app = App::new().wrap(throttle.clone()).route("/", web::get().to(fails));
    assert_eq!(call(&init_service(app).await, get()).await.status(), 502);
    assert_eq!(uploads.in_use("192.0.2.1").await.unwrap(), 0);
    let app = init_service(App::new().wrap(from_fn(deny)).wrap(throttle)).await;
    assert!(app.call(to_actix(get())).await.is_err());
    assert_eq!(uploads.in_use("192.0.2.1").await.unwrap(), 0);
}

#[actix_web::test]
async fn an_outer_middleware_sees_rejections_like_any_response() {
    let on_429 = |mut response: ServiceResponse<_>| {
        let value = actix_web::http::header::HeaderValue::from_static("yes");
        response.headers_mut().insert("x-seen".parse().unwrap(), value);
        Ok(ErrorHandlerResponse::Response(response.map_into_left_body()))
    };
    let status = actix_web::http::StatusCode::TOO_MANY_REQUESTS;
    let app = App::new()
        .wrap(of(1))
        .wrap(ErrorHandlers::new().handler(status, on_429))
        .wrap(DefaultHeaders::new().add(("x-default", "1")))
        .wrap(Logger::default())
        .route("/", web::get().to(async || ""));
    let app = init_service(app).await;
    assert!(!call(&app, get()).await.headers().contains_key("x-seen"));
    let rejection = call(&app, get()).await;
    assert_eq!((field(&rejection, "x-seen"), field(&rejection, "x-default")), ("yes", "1"));
    assert_eq!(field(&rejection, "retry-after"), "60");
}

#[actix_web::test]
async fn a_throttle_can_be_wrapped_in_a_condition() {
    let wrapped = |on| Condition::new(on, Compat::new(of(1)));
    let app = App::new()
        .service(web::resource("/on").wrap(wrapped(true)).to(async || ""))
        .service(web::resource("/off").wrap(wrapped(false)).to(async || ""));
    let app = init_service(app).await;
    let mut statuses = Vec::new();
    for path in ["/on", "/on", "/off", "/off"] {
        statuses.push(call(&app, get_path(path)).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 200, 200]);
}

/// A body of three chunks that counts how often it is polled.
struct Pieces(Rc<Cell<usize>>);

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.0.set(self.0.get() + 1);
        Poll::Ready((self.0.get() < 4).then(|| Ok(Bytes::from_static(b"piece"))))
    }
}

#[actix_web::test]
async fn a_streamed_body_is_neither_read_nor_measured() {
    let asked = Rc::new(Cell::new(0));
    let pieces = Rc::clone(&asked);
    let app = App::new().wrap(of(1));
    let handler = move || {
        let body = Pieces(Rc::clone(&pieces));
        async move { HttpResponse::Ok().message_body(body) }
    };
    let app = init_service(app.route("/", web::get().to(handler))).await;
    let response = app.call(to_actix(get())).await.unwrap();
    let mut body = Box::pin(response.into_body());
    assert_eq!((body.size(), asked.get()), (BodySize::Stream, 0));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(piece))) = body.as_mut().poll_next(&mut cx) else { panic!("nothing") };
    assert_eq!((piece, asked.get()), (Bytes::from_static(b"piece"), 1));
    let rejected = app.call(to_actix(get())).await.unwrap();
    assert!(matches!(rejected.response().body().size(), BodySize::Sized(_)));
}

#[actix_web::test]
async fn fields_of_the_handler_are_kept_and_legacy_fields_are_those_of_the_inner_throttle() {
    let handler = async || {
        HttpResponse::Ok()
            .append_header(("set-cookie", "a=1"))
            .append_header(("set-cookie", "b=2"))
            .finish()
    };
    let of = |name, limit| RateThrottle::new(Rule::per_day(name, limit)).headers(Headers::all());
    let app = App::new().wrap(of("inner", 5)).wrap(of("outer", 9));
    let app = init_service(app.route("/", web::get().to(handler))).await;
    let response = call(&app, get()).await;
    assert_eq!(lines(&response, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(lines(&response, "x-ratelimit-limit"), ["5"]);
    assert_eq!(lines(&response, "x-ratelimit-remaining"), ["4"]);
    assert_eq!(lines(&response, "ratelimit").len(), 1);
}

#[actix_web::test]
async fn keys_see_absolute_uris_and_fields_that_are_not_text() {
    let by_what = |head: &throttle_http::RequestHead<'_>| {
        let raw = head.headers().get("x-raw").map_or(&b""[..], |value| value.as_bytes());
        let query = head.uri().query().unwrap_or_default();
        let (host, sent) = (head.uri().host(), head.uri().path());
        Some(format!("{host:?} {sent} {} {query} {raw:?}", head.path()))
    };
    let limiter = limiter(MemoryStorage::new(), 3);
    let throttle = RateThrottle::new(&limiter).key(by_what);
    let app = App::new().wrap(throttle).default_service(web::to(async || ""));
    let app = init_service(app).await;
    let mut request = get_path("http://example.com/a%20b?q=%C3%A9");
    let raw = http::HeaderValue::from_bytes(b"\xff\x80z").unwrap();
    request.headers_mut().insert("x-raw", raw);
    assert_eq!(call(&app, request).await.status(), 200);
    let key = r#"Some("example.com") /a%20b /a b q=%C3%A9 [255, 128, 122]"#;
    assert_eq!(limiter.peek(key, "api").await.unwrap().remaining(), 2);
}

#[test]
fn a_handler_that_panics_stays_charged_and_the_server_continues() {
    for runtime in [Runtime::System, Runtime::Tokio] {
        let throttle = RateThrottle::new(Rule::per_day("api", 3));
        let panics = async || -> &'static str { std::panic::resume_unwind(Box::new("on purpose")) };
        let server = Server::start(runtime, 1, 1, move || {
            let app = App::new().wrap(throttle.clone()).route("/panic", web::get().to(panics));
            app.route("/", web::get().to(async || "hello"))
        });
        assert_eq!(server.get("/").status(), 200);
        assert_eq!(server.get("/panic").0, "", "the connection is closed");
        let statuses = [server.get("/").status(), server.get("/").status()];
        assert_eq!(statuses, [200, 429]);
    }
}
