//! A request that reaches a handler was counted by its limit, with every spelling of its path.
#![cfg(feature = "axum")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeMap;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Path,
    routing::{MethodRouter, get},
};
use http::Request;
use throttle_core::Key;
use throttle_http::{
    Options, RequestHead,
    identity::{Global, RequestPath, RoutePattern},
};
use throttle_memory::MemoryStorage;
use throttle_testkit::http::spellings;
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::limiter;

const LIMIT: usize = 2;
const PATHS: [&str; 5] =
    ["/api/login", "/api/users/me", "/api/users/42", "/api/files/export", "/static/app.js"];

/// The position of the layer.
#[derive(Copy, Clone, Debug)]
enum At {
    Router,
    Nested,
    Routes,
}

const PLACES: [At; 3] = [At::Router, At::Nested, At::Routes];

type Reached = BTreeMap<String, usize>;

/// Returns the request as a handler sees it.
fn routes(wrap: impl Fn(MethodRouter) -> MethodRouter) -> (Router, Router) {
    let with = |name: &'static str| {
        wrap(get(async move |Path(value): Path<String>| format!("{name} {value}")))
    };
    let api = Router::new()
        .route("/login", wrap(get(async || "login")))
        .route("/users/me", wrap(get(async || "me")))
        .route("/users/{id}", with("user"))
        .route("/files/{*name}", with("file"));
    (api, Router::new().route("/static/{*name}", with("static")).route("/{page}", with("page")))
}

/// Sends every spelling of every path more often than the limit allows, and counts the requests that handlers see.
async fn reached(at: At, options: Options) -> Reached {
    let limiter = limiter(MemoryStorage::new(), LIMIT as u64);
    let layer = RateThrottleLayer::from_options(limiter, options).build().unwrap();
    let app = match at {
        At::Router => {
            let (api, rest) = routes(|route| route);
            rest.nest("/api", api).layer(layer)
        }
        At::Nested => {
            let (api, rest) = routes(|route| route);
            rest.layer(layer.clone()).nest("/api", api.layer(layer))
        }
        At::Routes => {
            let (api, rest) = routes(|route| route.layer(layer.clone()));
            rest.nest("/api", api)
        }
    };
    let mut reached = Reached::new();
    for path in PATHS {
        for spelling in spellings(path) {
            for _ in 0..=LIMIT {
                let request = Request::get(&spelling).body(Body::empty()).unwrap();
                let response = app.clone().oneshot(request).await.unwrap();
                if response.status() == 200 {
                    let what = to_bytes(response.into_body(), usize::MAX).await.unwrap();
                    *reached.entry(String::from_utf8(what.to_vec()).unwrap()).or_default() += 1;
                }
            }
        }
    }
    assert!(!reached.is_empty(), "no handler was reached");
    reached
}

fn too_often(mut reached: Reached) -> Reached {
    reached.retain(|_, times| *times > LIMIT);
    reached
}

#[tokio::test]
async fn a_key_by_path_is_one_key_for_all_spellings_that_a_handler_sees_as_one_request() {
    for at in PLACES {
        let reached = reached(at, Options::new().key(RequestPath)).await;
        assert!(reached.len() > 20, "the parameters do not differ: {reached:?}");
        assert_eq!(too_often(reached), Reached::new(), "{at:?}");
    }
}

#[tokio::test]
async fn a_key_by_route_is_the_route_whose_handler_is_reached() {
    for at in PLACES {
        let mut by_route = Reached::new();
        for (what, times) in reached(at, Options::new().key(RoutePattern)).await {
            let route = what.split_once(' ').map_or(&*what, |(route, _)| route);
            *by_route.entry(route.to_owned()).or_default() += times;
        }
        assert_eq!(by_route.len(), 6, "{by_route:?}");
        assert_eq!(too_often(by_route), Reached::new(), "{at:?}");
    }
}

#[tokio::test]
async fn a_path_that_a_function_limits_is_limited_in_every_spelling() {
    // A nested router sees the path without its prefix.
    fn is_file(head: &RequestHead<'_>) -> bool {
        head.decoded_path().contains("files/export")
    }
    let pick = |_: &Key<'_>, head: &RequestHead<'_>| is_file(head).then_some("api");
    let options = || Options::new().key(Global);
    for options in [
        options().exempt(|head| !is_file(head)),
        options().cost(|head: &RequestHead<'_>| u64::from(is_file(head))),
        options().select_rules(pick),
        Options::new().key(|head: &RequestHead<'_>| if is_file(head) { "file" } else { "rest" }),
    ] {
        for at in PLACES {
            let reached = reached(at, options.clone()).await;
            assert_eq!(reached["file export"], LIMIT, "{at:?} {reached:?}");
        }
    }
}

#[tokio::test]
async fn only_the_exempt_path_is_exempt() {
    for (at, login) in [(At::Router, "/api/login"), (At::Nested, "/login"), (At::Routes, "/login")]
    {
        let options = Options::new().key(Global).exempt_paths([login, "/static/*"]);
        let (exempt, rest): (Vec<_>, Vec<_>) = reached(at, options)
            .await
            .into_iter()
            .partition(|(what, _)| what == "login" || what.starts_with("static"));
        assert!(exempt.iter().any(|(what, times)| what == "login" && *times > LIMIT), "{exempt:?}");
        let all: usize = rest.iter().map(|(_, times)| times).sum();
        assert!(all <= LIMIT, "{at:?} {rest:?}");
    }
}
