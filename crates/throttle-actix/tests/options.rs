//! Options that read values of other middleware in the extensions of a request.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use actix_web::{App, HttpMessage, dev::Service, test::init_service, web};
use bytes::Bytes;
use http::Request;
use throttle_actix::RateThrottle;
use throttle_http::{RequestHead, identity::ClientIp};
use throttle_memory::MemoryStorage;

use common::{call, get, limiter};

fn with(name: &'static str, value: &'static str) -> Request<Bytes> {
    let mut request = get();
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// A value that an outer middleware inserts.
#[derive(Clone)]
struct User(&'static str);

#[actix_web::test]
async fn extension_copies_a_value_to_the_functions_of_the_options() {
    let by_user = |head: &RequestHead<'_>| {
        assert!(head.extensions().get::<u8>().is_none(), "other values are not copied");
        head.extensions().get::<User>().map(|user| user.0.to_owned())
    };
    let throttle = RateThrottle::new(limiter(MemoryStorage::new(), 1));
    let throttle = throttle.extension::<u16>().extension::<User>().key(by_user).build().unwrap();
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
async fn peer_returns_the_address_if_the_server_does_not_provide_it() {
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
    assert_eq!(ask(&[one], true).await, 200, "the address of the server comes first");
    assert_eq!(ask(&[other], true).await, 429);
    assert_eq!(ask(&[], false).await, 500, "the address is unknown");
}
