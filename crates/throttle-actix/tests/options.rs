//! Each option of the throttle does what its name says; the table of cases takes them all at once.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use actix_web::{App, HttpMessage, dev::Service, test::init_service, web};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use throttle_actix::RateThrottle;
use throttle_core::{Rule, Value};
use throttle_http::{
    Denial, Headers, RequestHead,
    identity::{ClientIp, Header},
};
use throttle_memory::MemoryStorage;

use common::{Served, call, field, get, limiter};

fn of(limit: u64) -> RateThrottle {
    RateThrottle::new(limiter(MemoryStorage::new(), limit))
}

fn with(name: &'static str, value: &'static str) -> Request<Bytes> {
    let mut request = get();
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn by(method: Method) -> Request<Bytes> {
    let mut request = get();
    *request.method_mut() = method;
    request
}

#[actix_web::test]
async fn a_throttle_of_one_rule_keeps_its_counts_in_memory() {
    let app = Served::new(RateThrottle::new(Rule::per_day("api", 1))).await;
    assert_eq!(app.status(get()).await, 200);
    assert_eq!(app.status(get()).await, 429);
}

#[actix_web::test]
async fn rule_and_limit_pick_what_applies() {
    let limiter = limiter(MemoryStorage::new(), 1);
    limiter.add_rule(Rule::per_day("daily", 5)).unwrap();
    let all = Served::new(RateThrottle::new(&limiter)).await.ask(get()).await;
    assert!(field(&all, "ratelimit-policy").starts_with(r#""api";q=1;w=60, "daily";q=5"#));
    let one = Served::new(RateThrottle::new(&limiter).rule("daily")).await.ask(get()).await;
    assert_eq!(field(&one, "ratelimit-policy"), r#""daily";q=5;w=86400"#);
    let added =
        Served::new(RateThrottle::new(&limiter).limit("login", "2/minute").rule("daily")).await;
    let policy = r#""login";q=2;w=60, "daily";q=5;w=86400"#;
    assert_eq!(field(&added.ask(get()).await, "ratelimit-policy"), policy);
}

#[actix_web::test]
async fn key_says_who_is_limited() {
    let app = Served::new(of(1).key((Header::new("x-tenant"), ClientIp::new()))).await;
    assert_eq!(app.status(with("x-tenant", "a")).await, 200);
    assert_eq!(app.status(with("x-tenant", "a")).await, 429);
    assert_eq!(app.status(with("x-tenant", "b")).await, 200);
    assert_eq!(app.status(get()).await, 400);
}

#[actix_web::test]
async fn cost_is_a_number_or_a_function() {
    let app = Served::new(of(4).cost(3)).await;
    assert_eq!((app.status(get()).await, app.status(get()).await), (200, 429));
    let app =
        Served::new(of(4).cost(|head: &RequestHead<'_>| head.headers().len() as u64 + 3)).await;
    assert_eq!((app.status(get()).await, app.status(with("x-more", "1")).await), (200, 429));
}

#[actix_web::test]
async fn methods_and_exempt_let_pass() {
    let app =
        Served::new(of(1).methods([Method::POST]).exempt(|head| head.header("x-in").is_some()))
            .await;
    assert_eq!(app.status(by(Method::POST)).await, 200);
    assert_eq!(app.status(by(Method::POST)).await, 429);
    assert_eq!(app.status(by(Method::GET)).await, 200);
    let mut internal = with("x-in", "1");
    *internal.method_mut() = Method::POST;
    assert_eq!(app.status(internal).await, 200);
}

#[actix_web::test]
async fn headers_pick_the_fields() {
    let response = Served::new(of(1).headers(Headers::none().legacy(true))).await.ask(get()).await;
    assert_eq!(field(&response, "x-ratelimit-remaining"), "0");
    assert!(response.headers().get("ratelimit").is_none());
}

#[actix_web::test]
async fn on_denied_answers_with_any_kind_of_body() {
    fn bytes<T: Default>(_: &Denial<'_>) -> Response<T> {
        Response::builder().status(StatusCode::IM_A_TEAPOT).body(T::default()).unwrap()
    }
    let throttles = [
        of(1).on_denied(bytes::<&'static str>),
        of(1).on_denied(bytes::<String>),
        of(1).on_denied(bytes::<Vec<u8>>),
        of(1).on_denied(bytes::<Bytes>),
    ];
    for throttle in throttles {
        let app = Served::new(throttle).await;
        assert_eq!((app.status(get()).await, app.status(get()).await), (200, 418));
        assert_eq!(field(&app.ask(get()).await, "retry-after"), "60");
    }
}

#[actix_web::test]
async fn dry_run_refuses_nobody() {
    let app = Served::new(of(1).dry_run()).await;
    assert_eq!(app.status(get()).await, 200);
    assert_eq!(field(&app.ask(get()).await, "x-ratelimit-dry-run"), "denied");
}

#[actix_web::test]
async fn an_option_changes_the_throttle_that_it_returns_and_no_other() {
    let base = of(1).build().unwrap();
    let twice = base.clone().cost(2);
    let app = Served::new(base).await;
    assert_eq!(Served::new(twice).await.status(get()).await, 429);
    assert_eq!(app.status(get()).await, 200);
}

#[actix_web::test]
async fn the_counts_of_a_throttle_are_where_the_limiter_keeps_them() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let app = Served::new(RateThrottle::new(&limiter)).await;
    limiter.storage().set("mine", Value::from(1), None).await.unwrap();
    assert_eq!(app.status(get()).await, 200);
    assert!(!limiter.peek("192.0.2.1", "api").await.unwrap().is_allowed());
    limiter.reset("192.0.2.1", "api").await.unwrap();
    assert_eq!(app.status(get()).await, 200);
}

/// Is what a middleware around the throttle has found out.
#[derive(Clone)]
struct User(&'static str);

#[actix_web::test]
async fn extension_shows_the_functions_what_stands_beside_the_request() {
    let by_user = |head: &RequestHead<'_>| {
        assert!(head.extensions().get::<u8>().is_none(), "nobody asked for it");
        head.extensions().get::<User>().map(|user| user.0.to_owned())
    };
    let throttle = of(1).extension::<u16>().extension::<User>().key(by_user).build().unwrap();
    let app = App::new().wrap(throttle).default_service(web::to(async || "hello"));
    let app = init_service(app.wrap_fn(|request, next| {
        request.extensions_mut().insert(7_u8);
        if let Some(user) = request.headers().get("x-user") {
            let user = if user == "a" { User("a") } else { User("b") };
            request.extensions_mut().insert(user);
        }
        next.call(request)
    }))
    .await;
    let mut statuses = Vec::new();
    for user in ["a", "a", "b"] {
        statuses.push(call(&app, with("x-user", user)).await.status().as_u16());
    }
    statuses.push(call(&app, get()).await.status().as_u16());
    assert_eq!(statuses, [200, 429, 200, 400]);
}

#[actix_web::test]
async fn peer_says_where_the_server_left_the_address_if_it_did_not_say_it_itself() {
    #[derive(Clone)]
    struct Left(std::net::SocketAddr);

    let limiter = limiter(MemoryStorage::new(), 1);
    let throttle = RateThrottle::new(&limiter)
        .extension::<Left>()
        .peer(|extensions| extensions.get::<Left>().map(|left| left.0))
        .key(ClientIp::new().trusted_proxies(["198.51.100.1"]));
    let app = App::new()
        .wrap(throttle.build().unwrap())
        .wrap_fn(|request, inner| {
            let left = request.headers().get("x-left").map(|left| left.to_str().unwrap().parse());
            if let Some(left) = left {
                request.extensions_mut().insert(Left(left.unwrap()));
            }
            inner.call(request)
        })
        .default_service(web::to(async || "hello"));
    let app = init_service(app).await;
    let ask = async |fields: &[(&'static str, &'static str)], peer: bool| {
        let mut request = if peer { get() } else { Request::new(Bytes::new()) };
        for (name, value) in fields {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        call(&app, request).await.status().as_u16()
    };
    let (one, other, proxy) =
        (("x-left", "203.0.113.1:9"), ("x-left", "203.0.113.2:9"), ("x-left", "198.51.100.1:9"));
    assert_eq!((ask(&[one], false).await, ask(&[one], false).await), (200, 429));
    assert_eq!(ask(&[other], false).await, 200, "another client");
    assert_eq!(ask(&[proxy, ("x-forwarded-for", "203.0.113.1")], false).await, 429);
    assert_eq!(ask(&[one], true).await, 200, "what the server says comes first");
    assert_eq!(ask(&[other], true).await, 429);
    assert_eq!(ask(&[], false).await, 500, "nobody knows");
}
