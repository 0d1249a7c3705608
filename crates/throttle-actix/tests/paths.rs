//! A request that reaches a handler was counted by its limit, with every spelling of its path.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeMap;

use actix_web::{
    App, Error, FromRequest, HttpRequest,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    guard,
    middleware::NormalizePath,
    test::init_service,
    web,
};
use http::Method;
use throttle_actix::RateThrottle;
use throttle_core::Key;
use throttle_http::{
    Options, RequestHead,
    identity::{Global, RequestPath, RoutePattern},
};
use throttle_memory::MemoryStorage;
use throttle_testkit::http::spellings;

use common::{call, get_path, limiter};

const LIMIT: usize = 2;
const PATHS: [&str; 6] = [
    "/api/login",
    "/api/users/me",
    "/api/users/42",
    "/api/files/export",
    "/static/app.js",
    "/log+in",
];

/// Returns the request as a handler sees it.
fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/login", web::get().to(async || "login"))
        .service(web::resource("/users/me").to(async || "me"))
        .service(
            web::resource("/users/{id}").to(async |id: web::Path<String>| format!("user {id}")),
        )
        .service(
            web::resource("/files/{name:.*}")
                .to(async |name: web::Path<String>| format!("file {name}")),
        );
}

fn others(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/static/{name:.*}")
                .to(async |name: web::Path<String>| format!("static {name}")),
        )
        .service(
            web::resource("/{page}").to(async |page: web::Path<String>| format!("page {page}")),
        );
}

/// The position of the throttle.
#[derive(Copy, Clone, Debug)]
enum At {
    Root,
    /// Inside of a middleware that normalizes paths.
    RootWithinNormalize,
    Scope,
    Resource,
}

const PLACES: [At; 4] = [At::Root, At::RootWithinNormalize, At::Scope, At::Resource];

type Reached = BTreeMap<String, usize>;

/// Sends every spelling of every path more often than the limit allows, and counts the requests that handlers see.
async fn reached(at: At, options: Options) -> Reached {
    let throttle = RateThrottle::from_options(limiter(MemoryStorage::new(), LIMIT as u64), options);
    let throttle = throttle.build().unwrap();
    let scope = web::scope("/api").configure(routes);
    let app = App::new();
    match at {
        At::Root => {
            let app = app.service(scope).configure(others).wrap(throttle);
            count(init_service(app).await).await
        }
        At::RootWithinNormalize => {
            let app = app.service(scope).configure(others).wrap(throttle);
            count(init_service(app.wrap(NormalizePath::trim())).await).await
        }
        At::Scope => {
            let rest = web::scope("").configure(others).wrap(throttle.clone());
            count(init_service(app.service(scope.wrap(throttle)).service(rest)).await).await
        }
        At::Resource => {
            let answer = async |request: HttpRequest| {
                let info = request.match_info();
                let decoded = web::Path::<String>::extract(&request).await;
                match request.match_pattern().unwrap() {
                    static_route if info.is_empty() => static_route,
                    pattern => format!("{pattern} {}", decoded.unwrap()),
                }
            };
            let resource = |path| web::resource(path).wrap(throttle.clone()).to(answer);
            let paths = [
                "/api/login",
                "/api/users/me",
                "/api/users/{id}",
                "/api/files/{name:.*}",
                "/static/{name:.*}",
                "/{page}",
            ];
            let app = paths.into_iter().fold(app, |app, path| app.service(resource(path)));
            count(init_service(app).await).await
        }
    }
}

async fn count<B: MessageBody>(
    app: impl Service<actix_http::Request, Response = ServiceResponse<B>, Error = Error>,
) -> Reached {
    let mut reached = Reached::new();
    for path in PATHS {
        for spelling in spellings(path) {
            for _ in 0..=LIMIT {
                let response = call(&app, get_path(&spelling)).await;
                if response.status() == 200 {
                    let what = String::from_utf8(response.into_body().to_vec()).unwrap();
                    *reached.entry(what).or_default() += 1;
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

#[actix_web::test]
async fn a_key_by_path_is_one_key_for_all_spellings_that_a_handler_sees_as_one_request() {
    for at in PLACES {
        let reached = reached(at, Options::new().key(RequestPath)).await;
        assert!(reached.len() > 20, "the parameters do not differ: {reached:?}");
        assert_eq!(too_often(reached), Reached::new(), "{at:?}");
    }
}

#[actix_web::test]
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

#[actix_web::test]
async fn a_resource_whose_guards_make_it_overlap_with_another_has_one_key_in_each_spelling() {
    let throttle = RateThrottle::new(limiter(MemoryStorage::new(), 2)).key(RoutePattern);
    let me = web::resource("/users/me").guard(guard::Get()).to(async || "me");
    let user = web::resource("/users/{id}").guard(guard::Post()).wrap(throttle.build().unwrap());
    let app = App::new().service(me).service(user.to(async || "user"));
    let app = init_service(app).await;
    let paths = ["/users/me", "/users/%6de", "/users/m%65", "/users/%6d%65"];
    let mut allowed = 0;
    for path in paths {
        let mut request = get_path(path);
        *request.method_mut() = Method::POST;
        allowed += usize::from(call(&app, request).await.status() == 200);
    }
    assert_eq!(allowed, 2);
}

#[actix_web::test]
async fn a_path_that_a_function_limits_is_limited_in_every_spelling() {
    fn is_api(head: &RequestHead<'_>) -> bool {
        head.decoded_path().starts_with("/api/")
    }
    let of_api =
        |what: &str| ["login", "me", "user", "file", "/api"].iter().any(|of| what.starts_with(of));
    let pick = |_: &Key<'_>, head: &RequestHead<'_>| is_api(head).then_some("api");
    let key = |head: &RequestHead<'_>| if is_api(head) { "api" } else { "rest" };
    let options = || Options::new().key(Global);
    for options in [
        options().exempt(|head| !is_api(head)),
        // A static prefix is equally safe with the path that the router matches.
        options().exempt(|head| !head.path().starts_with("/api/")),
        options().cost(|head: &RequestHead<'_>| u64::from(is_api(head))),
        options().select_rules(pick),
        Options::new().key(key),
    ] {
        for at in PLACES {
            let reached = reached(at, options.clone()).await;
            let all: usize = reached.iter().filter(|(what, _)| of_api(what)).map(|(_, n)| n).sum();
            assert_eq!(all, LIMIT, "{at:?} {reached:?}");
        }
    }
}

#[actix_web::test]
async fn a_parameter_that_costs_more_costs_more_in_every_spelling() {
    let cost = |head: &RequestHead<'_>| match &*head.decoded_path() {
        "/api/files/export" => LIMIT as u64,
        _ => 0,
    };
    for at in PLACES {
        let reached = reached(at, Options::new().key(Global).cost(cost)).await;
        let exports =
            |what: &String| what.ends_with("file export") || what.ends_with("{name:.*} export");
        let times: Vec<_> = reached.iter().filter(|(what, _)| exports(what)).collect();
        assert!(matches!(times[..], [(_, 1)]), "{at:?} {times:?}");
    }
}

#[actix_web::test]
async fn only_a_path_that_the_router_matches_as_the_exempt_path_is_exempt() {
    for at in PLACES {
        let options = Options::new().key(Global).exempt_paths(["/api/login", "/static/*"]);
        let (exempt, rest): (Vec<_>, Vec<_>) = reached(at, options)
            .await
            .into_iter()
            .partition(|(what, _)| what.ends_with("login") || what.contains("static"));
        assert!(
            exempt.iter().any(|(what, times)| what.ends_with("login") && *times > 20),
            "{exempt:?}"
        );
        let all: usize = rest.iter().map(|(_, times)| times).sum();
        assert!(all <= LIMIT, "{at:?} {rest:?}");
    }
}

#[actix_web::test]
async fn an_exempt_path_with_escapes_is_the_path_that_the_router_decodes() {
    let throttle = RateThrottle::new(limiter(MemoryStorage::new(), 1))
        .exempt_paths(["/gr%C3%B6%C3%9Fe", "/a%20b/*"])
        .key(Global)
        .build()
        .unwrap();
    let app = App::new().default_service(web::to(async || "hello")).wrap(throttle);
    let app = init_service(app).await;
    for path in ["/gr%c3%b6%C3%9Fe", "/gr%C3%B6%C3%9Fe", "/a%20b/c", "/%61%20b/", "/x"] {
        assert_eq!(call(&app, get_path(path)).await.status(), 200, "{path}");
    }
    for path in ["/gr%C3%B6sse", "/a%20b", "/a%20b/%2e%2e/c", "/a%2520b/c", "/gr%ff%ffe"] {
        assert_eq!(call(&app, get_path(path)).await.status(), 429, "{path}");
    }
}

#[actix_web::test]
async fn a_function_sees_the_path_in_the_uri_as_it_was_sent() {
    let throttle = RateThrottle::new(limiter(MemoryStorage::new(), 1)).methods([Method::GET]);
    let throttle = throttle.key(|head: &RequestHead<'_>| {
        let paths = (head.uri().path(), head.path(), &*head.decoded_path());
        assert_eq!(paths, ("/%61%2Fb%2525", "/a%2Fb%2525", "/a/b%25"));
        "key"
    });
    let app = App::new().default_service(web::to(async || "hello")).wrap(throttle);
    assert_eq!(call(&init_service(app).await, get_path("/%61%2Fb%2525")).await.status(), 200);
}
