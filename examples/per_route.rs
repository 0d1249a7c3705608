//! A limit for the whole service, and a limit for each route.
//!
//! Run `cargo run --example per_route`, then for example `curl -i http://127.0.0.1:3000/users/42`.

use std::{error::Error, net::SocketAddr};

use axum::{
    Router,
    http::Method,
    routing::{get, post},
};
use ratethrottle::{
    Algorithm, ClientIp, Limiter, MemoryStorage, RateThrottleLayer, Rule, identity::RoutePattern,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!(
        "listening on http://127.0.0.1:3000: /users/{{id}}, /orders/{{id}}, /search, /reports"
    );
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn app() -> Result<Router, Box<dyn Error>> {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_minute("service", 1_000))?;
    limiter.add_rule(Rule::per_minute("route", 60))?;
    limiter.add_rule(Rule::per_minute("search", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
    limiter.add_rule(Rule::per_hour("reports", 5))?;

    // One layer and one rule, but a separate limit for each route: `/users/1` and `/users/2` are the same
    // route, `/orders/1` is another.
    let each_route = RateThrottleLayer::new(&limiter)
        .rule("route")
        .key((RoutePattern, ClientIp::new()))
        .build()?;
    // The limit of a single route.
    let search = RateThrottleLayer::new(&limiter).rule("search").build()?;
    // Creating a report is expensive, reading one is not.
    let reports =
        RateThrottleLayer::new(&limiter).rule("reports").methods([Method::POST]).build()?;
    // The limit of all routes, and of paths without a route. Requests that an inner layer rejects are charged, too.
    let service =
        RateThrottleLayer::new(&limiter).rule("service").exempt_health_checks().build()?;

    Ok(Router::new()
        .route("/users/{id}", get(|| async { "a user\n" }))
        .route("/orders/{id}", get(|| async { "an order\n" }))
        .route_layer(each_route) // applies only to the routes above
        .route("/search", get(|| async { "results\n" }).layer(search))
        .route("/reports", post(|| async { "made\n" }).get(|| async { "reports\n" }).layer(reports))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(service))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        extract::connect_info::MockConnectInfo,
        http::{HeaderMap, Request},
    };
    use tower::ServiceExt;

    use super::*;

    struct Client(Router);

    impl Client {
        fn new() -> Self {
            let peer = SocketAddr::from(([203, 0, 113, 7], 50_000));
            Self(app().unwrap().layer(MockConnectInfo(peer)))
        }

        async fn ask(&self, method: &str, path: &str) -> (u16, HeaderMap) {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let (head, _) = self.0.clone().oneshot(request).await.unwrap().into_parts();
            (head.status.as_u16(), head.headers)
        }

        async fn get(&self, path: &str) -> u16 {
            self.ask("GET", path).await.0
        }
    }

    #[tokio::test]
    async fn a_route_has_one_limit_for_all_parameters() {
        let client = Client::new();
        for id in 0..60 {
            assert_eq!(client.get(&format!("/users/{id}")).await, 200);
        }
        assert_eq!(client.get("/users/60").await, 429);
        assert_eq!(client.get("/orders/60").await, 200);
    }

    #[tokio::test]
    async fn a_response_reports_the_limits_of_its_route_and_of_the_service() {
        let client = Client::new();
        let (status, headers) = client.ask("GET", "/search").await;
        assert_eq!(status, 200);
        let policies = &headers["ratelimit-policy"];
        assert_eq!(policies, r#""search";q=20;w=120, "service";q=1000;w=60"#);
        let (_, headers) = client.ask("GET", "/no/such/route").await;
        assert_eq!(headers["ratelimit-policy"], r#""service";q=1000;w=60"#);
    }

    #[tokio::test]
    async fn a_request_that_a_route_rejects_counts_for_the_service() {
        let client = Client::new();
        for _ in 0..5 {
            assert_eq!(client.ask("POST", "/reports").await.0, 200);
        }
        let (status, headers) = client.ask("POST", "/reports").await;
        assert_eq!(status, 429);
        let limits = headers["ratelimit"].to_str().unwrap();
        assert!(limits.contains(r#", "service";r=994;"#), "{limits}");
        assert_eq!(client.get("/reports").await, 200, "reading reports has no such limit");
        let (_, headers) = client.ask("GET", "/healthz").await;
        assert!(!headers.contains_key("ratelimit"));
    }
}
