//! Every option of the layer, once.
//!
//! `cargo run --example options`, then for instance
//! `curl -i -H 'x-api-key: demo' http://127.0.0.1:3000/search?q=rust`.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    Extension, Router,
    http::{Method, Response, StatusCode},
    routing::{get, post},
};
use ratethrottle::{
    Algorithm, ClientIp, Decisions, Denial, ForwardedHeader, Header, Headers, Limiter,
    MemoryStorage, Missing, OnError, RateThrottleLayer, RequestHead, RoutePattern, Rule,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!(
        "listening on http://127.0.0.1:3000: /search, /login, /upload, /download, /beta, /health"
    );
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn app() -> Result<Router, Box<dyn Error>> {
    // One limiter for all routes; at most 100,000 clients are remembered.
    let storage = MemoryStorage::builder().max_entries(100_000).build();
    let limiter = Limiter::builder(storage).recent_violations(50).build();
    limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
    limiter.add_rule(Rule::new("daily", 10_000, Duration::from_secs(86_400)))?;
    limiter.add_rule(
        Rule::parse("login", "5/minute")?
            .algorithm(Algorithm::SlidingWindowLog)
            .block(Duration::from_secs(900)),
    )?;
    limiter.add_rule(Rule::per_hour("upload", 100).cost(2))?;
    limiter.allow_list().add("10.0.0.0/8")?;
    limiter.deny_list().add_for("203.0.113.9", Duration::from_secs(3600))?;
    limiter.on_violation(|violation| eprintln!("refused: {violation:?}"));

    // Two rules at once, all or nothing; clients are told apart by their API key.
    let search = RateThrottleLayer::new(&limiter)
        .rule("burst")
        .rule("daily")
        .key(Header::new("x-api-key"))
        .cost(|head: &RequestHead<'_>| if head.uri().query().is_some() { 5 } else { 1 })
        .headers(Headers::all().legacy_reset_as_unix_time(true))
        .build()?;
    // Behind proxies in 192.0.2.0/24, which write `Forwarded`; only attempts count.
    let login = RateThrottleLayer::new(&limiter)
        .rule("login")
        .key(
            ClientIp::new()
                .trusted_proxies(["192.0.2.0/24"])
                .header(ForwardedHeader::Forwarded)
                .ipv6_prefix(56),
        )
        .methods([Method::POST])
        .charge_if(|response| response.status() != StatusCode::NOT_MODIFIED)
        .on_denied(|denial: &Denial<'_>| {
            let wait = denial.decision().retry_after().unwrap_or_default();
            let text = format!("too many attempts; try again in {} s\n", wait.as_secs() + 1);
            let mut response = Response::new(text);
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response
        })
        .build()?;
    // Tenants have a limit for each of their clients.
    let upload = RateThrottleLayer::new(&limiter)
        .rule("upload")
        .key((Header::new("x-tenant").missing(Missing::Anonymous), RoutePattern, ClientIp::new()))
        .exempt_preflight()
        .exempt(|head| head.method() == Method::OPTIONS)
        .on_error(OnError::Pass)
        .build()?;
    // A gigabyte a day, and two at once; a megabyte is reserved before it is known how much is sent.
    let download = RateThrottleLayer::new(&limiter)
        .limit("bytes", "1000000000/day")
        .concurrency(limiter.concurrency("downloads", 2)?)
        .cost(1_000_000)
        .charge_bytes_sent()
        // What a cache answered costs what the cache says.
        .charge_actual_by(|response| response.header("x-cached-cost")?.parse().ok())
        .build()?;
    // To see what a new limit would do before it does it.
    let beta = RateThrottleLayer::new(&limiter)
        .limit("beta", "1/minute")
        .headers(Headers::none().draft_10(true).retry_after(true))
        .shape_at_most(Duration::from_secs(2)) // of a leaky bucket only; others never wait
        .dry_run()
        .build()?;

    Ok(Router::new()
        .route("/search", get(search_handler).layer(search))
        .route("/login", post(|| async { "welcome\n" }).layer(login))
        .route("/upload", post(|| async { "stored\n" }).layer(upload))
        .route("/download", get(|| async { "five!" }).layer(download))
        .route("/beta", get(|| async { "new\n" }).layer(beta))
        .route("/health", get(|| async { "ok\n" })))
}

/// Handlers can read what was decided.
async fn search_handler(Extension(decisions): Extension<Decisions>) -> String {
    let left = |one: &ratethrottle::Decision| format!("{}: {} left\n", one.rule(), one.remaining());
    decisions.all().iter().map(left).collect()
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        extract::ConnectInfo,
        http::{Request, request::Builder},
    };
    use tower::ServiceExt;

    use super::*;

    async fn send(app: &Router, request: Builder) -> (u16, axum::http::HeaderMap, String) {
        let peer: SocketAddr = "203.0.113.7:1".parse().unwrap();
        let request = request.extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_search_with_a_query_costs_five_and_a_missing_api_key_is_a_bad_request() {
        let app = app().unwrap();
        let search = || Request::get("/search?q=x").header("x-api-key", "k");
        let (status, headers, body) = send(&app, search()).await;
        assert_eq!((status, body.as_str()), (200, "burst: 15 left\ndaily: 9995 left\n"));
        assert_eq!(headers["ratelimit-policy"], "\"burst\";q=20;w=2, \"daily\";q=10000;w=86400");
        assert!(headers.contains_key("x-ratelimit-reset"));
        let (status, ..) = send(&app, Request::get("/search")).await;
        assert_eq!(status, 400);
    }

    #[tokio::test]
    async fn the_sixth_login_is_answered_by_the_service_itself() {
        let app = app().unwrap();
        for _ in 0..5 {
            assert_eq!(send(&app, Request::post("/login")).await.2, "welcome\n");
        }
        let (status, headers, body) = send(&app, Request::post("/login")).await;
        assert!(status == 429 && body.starts_with("too many attempts"), "{body}");
        assert_eq!(headers["retry-after"], "900", "the block of a quarter of an hour");
    }

    #[tokio::test]
    async fn a_download_costs_what_is_sent_and_two_are_under_way_at_most() {
        let app = app().unwrap();
        let peer: SocketAddr = "203.0.113.7:1".parse().unwrap();
        let begin = async || {
            let request = Request::get("/download").extension(ConnectInfo(peer));
            app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        let (first, second) = (begin().await, begin().await);
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
        assert_eq!(begin().await.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(second); // nothing of it was sent, and nobody said what it cost: the estimate stands
        assert_eq!(to_bytes(first.into_body(), 9).await.unwrap(), "five!");
        let (_, headers, _) = send(&app, Request::get("/download")).await;
        let fields = headers["ratelimit"].to_str().unwrap();
        assert!(fields.starts_with("\"bytes\";r=997999995;"), "{fields}");
    }

    #[tokio::test]
    async fn a_dry_run_lets_pass_what_it_would_refuse() {
        let app = app().unwrap();
        for turn in 0..3 {
            let (status, headers, _) = send(&app, Request::get("/beta")).await;
            assert_eq!(status, 200);
            assert_eq!(headers.contains_key("x-ratelimit-dry-run"), turn > 0);
        }
        assert_eq!(send(&app, Request::get("/health")).await.0, 200);
        let upload = Request::post("/upload").header("x-tenant", "acme");
        let (_, headers, _) = send(&app, upload).await;
        assert!(headers["ratelimit"].to_str().unwrap().starts_with("\"upload\";r=98;t="));
    }
}
