//! What cannot be used is an error of `build`, and never a panic under load.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use actix_web::{App, HttpMessage, dev::Service, test::init_service, web};
use bytes::Bytes;
use http::{Request, StatusCode};
use throttle_actix::RateThrottle;
use throttle_core::Rule;
use throttle_http::Headers;
use throttle_memory::MemoryStorage;

use common::{Log, Served, call, field, get, limiter};

fn of(limit: u64) -> RateThrottle {
    RateThrottle::new(limiter(MemoryStorage::new(), limit))
}

fn error(throttle: RateThrottle) -> String {
    throttle.build().unwrap_err().to_string()
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
fn a_rule_that_cannot_be_taken_is_an_error_that_names_the_field() {
    let text = error(RateThrottle::new(Rule::per_minute("api", 0)));
    assert!(text.contains("\"api\"") && text.contains("limit is 0"), "{text}");
    let text = error(RateThrottle::new(Rule::per_minute("api", 1).burst(3)));
    assert!(text.contains("burst is 3"), "{text}");
}

#[test]
fn a_throttle_that_was_built_can_be_built_again_and_changed() {
    let throttle = of(1).limit("login", "5/minute").build().unwrap();
    let throttle = throttle.build().unwrap().rule("api").build().unwrap();
    assert!(error(throttle.rule("other")).contains("\"other\""));
}

#[actix_web::test]
async fn without_build_the_mistake_is_logged_and_every_request_answered_with_500() {
    let (log, _guard) = Log::start();
    let throttle = of(1).rule("unknown");
    let app = App::new().wrap(throttle.clone()).default_service(web::to(async || "hello"));
    let app = init_service(app.wrap(throttle)).await;
    let logged = log.take();
    for word in ["ERROR", "\"unknown\"", "\"api\"", "500"] {
        assert!(logged.contains(word), "{word} is not in: {logged}");
    }
    assert_eq!(logged.matches("unknown").count(), 1, "once is enough: {logged}");
    for _ in 0..3 {
        let response = call(&app, get()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(field(&response, "content-type"), "application/problem+json");
        let body = r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"The server is not configured to limit requests."}"#;
        assert_eq!(response.body(), body, "what is wrong within is told to nobody");
    }
    assert_eq!(log.take(), "");
}

#[actix_web::test]
async fn without_a_peer_the_answer_is_500_and_the_log_names_the_fix_once() {
    let (log, _guard) = Log::start();
    let app = Served::new(of(1)).await;
    assert_eq!(log.take(), "");
    for _ in 0..3 {
        let response = app.ask(Request::new(Bytes::new())).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = std::str::from_utf8(response.body()).unwrap();
        assert!(!body.contains("TestRequest"), "clients need not know: {body}");
    }
    let logged = log.take();
    assert_eq!(logged.matches("TestRequest::peer_addr").count(), 1, "{logged}");
    assert_eq!(logged.matches("ERROR").count(), 1, "{logged}");
    assert_eq!(app.status(get()).await, 200, "nothing was charged");
}

#[actix_web::test]
async fn without_a_peer_an_address_beside_the_request_is_taken() {
    let app = App::new().wrap(of(1)).default_service(web::to(async || "hello"));
    let app = init_service(app.wrap_fn(|request, next| {
        match request.headers().contains_key("x-socket") {
            true => request.extensions_mut().insert(common::PEER).map(drop),
            false => request.extensions_mut().insert(common::PEER.ip()).map(drop),
        };
        next.call(request)
    }))
    .await;
    let mut with_socket = Request::new(Bytes::new());
    with_socket.headers_mut().insert("x-socket", "1".parse().unwrap());
    assert_eq!(call(&app, with_socket).await.status(), StatusCode::OK);
    let response = call(&app, Request::new(Bytes::new())).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "the same client");
}

#[actix_web::test]
async fn what_a_client_claims_in_header_fields_is_not_its_address() {
    let app = Served::new(of(1)).await;
    let claims = ["x-forwarded-for", "forwarded", "x-real-ip", "client-ip"];
    let mut statuses = Vec::new();
    for name in claims {
        let mut request = get();
        let value = if name == "forwarded" { "for=198.51.100.1" } else { "198.51.100.1" };
        request.headers_mut().insert(name, value.parse().unwrap());
        statuses.push(app.status(request).await);
    }
    assert_eq!(statuses, [200, 429, 429, 429]);
}
