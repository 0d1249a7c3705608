//! All options of the layer. The Actix middleware has the same options.
//!
//! Run `cargo run --example options`, then for example
//! `curl -i -H 'x-api-key: demo' http://127.0.0.1:3000/search?q=rust`.
//!
//! For gRPC see `grpc/main.rs`, for limits of HTTP clients `outbound.rs`, and for the options of storages and
//! limiters `storage_options.rs`.

use std::{env, error::Error, io, net::SocketAddr, time::Duration};

use axum::{
    Extension, Router,
    http::{Method, StatusCode},
    routing::{get, post},
};
use ratethrottle::{
    Algorithm, ClientIp, Decision, Decisions, Header, Headers, Limiter, MemoryStorage, OnError,
    RateThrottleLayer, RejectionReason, RequestHead, Rule,
    identity::{
        AsyncKey, Cookie, ForwardedHeader, Global, KeyWithRules, OnMissing, RequestHost,
        RequestMethod, RequestPath, RoutePattern,
    },
    options::{ActualCost, ContentLength, OnMissingLength},
};

type Layer = Result<RateThrottleLayer, Box<dyn Error>>;

/// The key from which partition keys are derived, which show clients whether two responses share a limit.
/// All servers must use the same secret.
const SECRET: &[u8] = b"sixteen random bytes, or more";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!(
        "listening on http://127.0.0.1:3000: /search, /login, /upload, /download, /account, /cart, /jobs, \
         /model, /beta, /health"
    );
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn app() -> Result<Router, Box<dyn Error>> {
    // One limiter for all routes, with the rules that the layers name.
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
    limiter.add_rule(Rule::new("daily", 10_000, Duration::from_secs(86_400)))?;
    limiter.add_rule(
        Rule::parse("login", "5/minute")?
            .algorithm(Algorithm::SlidingWindowLog)
            .block(Duration::from_secs(900)),
    )?;
    limiter.add_rule(Rule::per_hour("upload", 10_240))?;
    limiter.add_rule(Rule::per_hour("free", 60))?;
    limiter.add_rule(Rule::per_hour("pro", 6_000).cost(2))?;
    limiter.add_rule(Rule::per_second("jobs", 5).algorithm(Algorithm::LeakyBucket).burst(10))?;
    limiter.add_rule(Rule::per_minute("tokens", 1_000).algorithm(Algorithm::TokenBucket))?;
    limiter.allow_list().add("10.0.0.0/8")?;
    limiter.deny_list().add_for("203.0.113.9", Duration::from_secs(3600))?;
    limiter.on_violation(|violation| eprintln!("rejected: {violation:?}"));

    Ok(Router::new()
        .route("/search", get(show_decisions).layer(search(&limiter)?))
        .route("/login", post(|| async { "welcome\n" }).layer(login(&limiter)?))
        .route("/upload", post(|| async { "stored\n" }).layer(upload(&limiter)?))
        .route("/download", get(|| async { "five!" }).layer(download(&limiter)?))
        .route("/account", get(|| async { "yours\n" }).layer(account(&limiter)?))
        .route("/cart", get(|| async { "empty\n" }).layer(cart(&limiter)?))
        .route("/jobs", post(|| async { "done\n" }).layer(jobs(&limiter)?))
        .route("/model", post(think).layer(model(&limiter)?))
        .route("/beta", get(|| async { "new\n" }).layer(beta(&limiter)?))
        .route("/health", get(|| async { "ok\n" }))
        .route("/static/{file}", get(|| async { "a file\n" }))
        .layer(service(&limiter)?))
}

/// Checks two rules at once, by API key. A request is charged to both rules or to none.
fn search(limiter: &Limiter) -> Layer {
    let layer = RateThrottleLayer::new(limiter)
        .rule("burst")
        .rule("daily")
        .key(Header::new("x-api-key"))
        .cost_by(|head| if head.uri().query().is_some() { 5 } else { 1 })
        .headers(Headers::all().legacy_reset_as_unix_time(true));
    Ok(layer.build()?)
}

/// Limits by client address, behind proxies in 192.0.2.0/24 that send `Forwarded`. A response with 304 is not
/// charged.
fn login(limiter: &Limiter) -> Layer {
    let client = ClientIp::new()
        .trusted_proxies(["192.0.2.0/24"])
        .header(ForwardedHeader::Forwarded)
        .ipv6_prefix(56);
    let layer = RateThrottleLayer::new(limiter)
        .rule("login")
        .key(client)
        .methods([Method::POST])
        .charge_if(|response| response.status() != StatusCode::NOT_MODIFIED)
        .on_rejection(|rejection| match (rejection.reason(), rejection.retry_after_secs()) {
            (RejectionReason::Rule, Some(wait)) => {
                format!("too many attempts; try again in {wait} s\n")
            }
            (reason, _) => format!("rejected: {reason}\n"),
        });
    Ok(layer.build()?)
}

/// Limits the KiB that each client of a tenant uploads.
///
/// A body without a declared length costs 1 MiB. Uploads are allowed while the storage fails. Up to 4 MiB of a
/// rejected body are read, so that the client receives the rejection.
fn upload(limiter: &Limiter) -> Layer {
    let layer = RateThrottleLayer::new(limiter)
        .rule("upload")
        .key((Header::new("x-tenant").missing(OnMissing::Anonymous), RoutePattern, ClientIp::new()))
        .cost(ContentLength::in_kib().at_most(1024).missing(OnMissingLength::Costs(1024)))
        .exempt_preflight()
        .exempt(|head| head.header("x-purpose") == Some("probe"))
        .on_error(OnError::Pass)
        .drain_rejected(4 * 1024 * 1024); // not in Actix, which always does this
    Ok(layer.build()?)
}

/// Limits downloads to 1 GB per day and to two at once.
///
/// Each request reserves 1 MB, because its size is not known in advance.
fn download(limiter: &Limiter) -> Layer {
    let layer = RateThrottleLayer::new(limiter)
        .limit("bytes", "1000000000/day")
        .concurrency(limiter.concurrency("downloads", 2)?)
        .cost(1_000_000)
        .charge_bytes_sent()
        // If a cache responds, its header field sets the cost.
        .charge_actual_by(|response| response.header("x-cached-cost")?.parse().ok());
    Ok(layer.build()?)
}

/// Looks up the customer and the plan of an API key. If the storage or the database fails, the response is a
/// custom 503.
fn account(limiter: &Limiter) -> Layer {
    let customer = AsyncKey::new(|head: &RequestHead<'_>| {
        let api_key = head.header("x-api-key").map(str::to_owned);
        async move {
            let Some(api_key) = api_key else { return Ok(None) };
            let customer = find_customer(&api_key).await?;
            Ok::<_, io::Error>(customer.and_then(|(number, plan)| KeyWithRules::new(number, plan)))
        }
    });
    let layer = RateThrottleLayer::new(limiter)
        .key(customer.missing(OnMissing::Status(StatusCode::UNAUTHORIZED)))
        .declare_rules(["free", "pro"])
        .on_rejection(|rejection| match rejection.reason() {
            RejectionReason::Storage => "try again in a minute\n",
            _ => "rejected\n",
        });
    Ok(layer.build()?)
}

/// Limits sessions, separately for each method. Members have a higher limit.
fn cart(limiter: &Limiter) -> Layer {
    let session = Cookie::new("session").missing(OnMissing::ClientIp(ClientIp::new()));
    let layer = RateThrottleLayer::new(limiter)
        .key((session, RequestMethod))
        .declare_rules(["free", "pro"])
        .select_rules(|_key, head| if head.header("x-member").is_some() { "pro" } else { "free" })
        .headers(Headers::default().rate_limit(true).partition_key(SECRET));
    Ok(layer.build()?)
}

/// Queues the requests of all clients, and starts five per second.
fn jobs(limiter: &Limiter) -> Layer {
    let layer = RateThrottleLayer::new(limiter).rule("jobs").key(Global).shape();
    Ok(layer.build()?)
}

/// Reserves fifty tokens, and reconciles them with the number that the handler reports.
fn model(limiter: &Limiter) -> Layer {
    let layer = RateThrottleLayer::new(limiter).rule("tokens").cost(50).charge_actual();
    Ok(layer.build()?)
}

/// Tests a new limit in a dry run. The environment variable `BETA=off` disables it.
fn beta(limiter: &Limiter) -> Layer {
    let layer = RateThrottleLayer::new(limiter)
        .limit("beta", "1/minute")
        .key_by(|head| head.peer()) // as `ClientIp::new()`
        .enabled(env::var("BETA").as_deref() != Ok("off"))
        .headers(
            Headers::none()
                .draft_7(true)
                .draft_6(true)
                .legacy(true)
                .retry_after(true)
                .cors_expose(true),
        )
        .shape_at_most(Duration::from_secs(2)) // only delays requests of leaky buckets
        .dry_run();
    Ok(layer.build()?)
}

/// Wraps all routes, with a limit for each host, path and client. Outer layers can read the decisions.
fn service(limiter: &Limiter) -> Layer {
    let layer = RateThrottleLayer::new(limiter)
        .limit("service", "1000/minute")
        .key((RequestHost, RequestPath, ClientIp::new()))
        .exempt_paths(["/static/*"])
        .exempt_health_checks()
        .headers(Headers::none()) // the inner layers write fields
        .response_extension(true)
        .on_error(OnError::Reject); // the default
    Ok(layer.build()?)
}

/// Simulates a database query for the number and the plan of a customer.
async fn find_customer(api_key: &str) -> Result<Option<(u64, &'static str)>, io::Error> {
    match api_key {
        "k-pro" => Ok(Some((1, "pro"))),
        "k-free" => Ok(Some((2, "free"))),
        "k-broken" => Err(io::Error::other("the database is down")),
        _ => Ok(None),
    }
}

/// Handlers can read the decisions of the innermost layer.
async fn show_decisions(Extension(decisions): Extension<Decisions>) -> String {
    let left = |one: &Decision| format!("{}: {} left\n", one.rule(), one.remaining());
    decisions.all().iter().map(left).collect()
}

async fn think(Extension(cost): Extension<ActualCost>) -> &'static str {
    cost.set(3);
    "forty-two\n"
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
        let request =
            request.header("host", "h").extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
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
    async fn the_sixth_login_gets_a_custom_response() {
        let app = app().unwrap();
        for _ in 0..5 {
            assert_eq!(send(&app, Request::post("/login")).await.2, "welcome\n");
        }
        let (status, headers, body) = send(&app, Request::post("/login")).await;
        assert!(status == 429 && body.starts_with("too many attempts"), "{body}");
        assert_eq!(headers["retry-after"], "900", "the block of a quarter of an hour");
    }

    #[tokio::test]
    async fn a_download_is_charged_its_bytes_and_at_most_two_are_in_flight() {
        let app = app().unwrap();
        let peer: SocketAddr = "203.0.113.7:1".parse().unwrap();
        let begin = async || {
            let request =
                Request::get("/download").header("host", "h").extension(ConnectInfo(peer));
            app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        let (first, second) = (begin().await, begin().await);
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
        assert_eq!(begin().await.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(second); // no byte was sent, so the cost is 0
        assert_eq!(to_bytes(first.into_body(), 9).await.unwrap(), "five!");
        let (_, headers, _) = send(&app, Request::get("/download")).await;
        let fields = headers["ratelimit"].to_str().unwrap();
        assert!(fields.starts_with("\"bytes\";r=998999995;"), "{fields}");
    }

    #[tokio::test]
    async fn a_dry_run_allows_and_marks_requests_that_it_would_reject() {
        let app = app().unwrap();
        for i in 0..3 {
            let (status, headers, _) = send(&app, Request::get("/beta")).await;
            assert_eq!(status, 200);
            assert_eq!(headers.contains_key("x-ratelimit-dry-run"), i > 0);
        }
        assert_eq!(send(&app, Request::get("/health")).await.0, 200);
    }

    /// Returns the field `RateLimit` of the response.
    async fn rate_limit(app: &Router, request: Builder) -> String {
        let (status, headers, body) = send(app, request).await;
        assert_eq!(status, 200, "{body}");
        headers["ratelimit"].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn an_upload_is_charged_its_length_and_a_preflight_is_exempt() {
        let app = app().unwrap();
        let upload = |length: &str| {
            Request::post("/upload").header("x-tenant", "acme").header("content-length", length)
        };
        assert!(rate_limit(&app, upload("2500")).await.starts_with("\"upload\";r=10237;t="));
        assert!(rate_limit(&app, upload("99999999")).await.starts_with("\"upload\";r=9213;t="));
        let preflight = Request::options("/upload")
            .header("origin", "https://example.com")
            .header("access-control-request-method", "POST");
        assert!(!send(&app, preflight).await.1.contains_key("ratelimit"));
    }

    #[tokio::test]
    async fn a_customer_has_the_limit_of_its_plan() {
        let app = app().unwrap();
        let account = |api_key: &str| Request::get("/account").header("x-api-key", api_key);
        assert!(rate_limit(&app, account("k-pro")).await.starts_with("\"pro\";r=5998;t="));
        assert!(rate_limit(&app, account("k-free")).await.starts_with("\"free\";r=59;t="));
        assert_eq!(send(&app, account("k-unknown")).await.0, 401);
        let (status, _, body) = send(&app, account("k-broken")).await;
        assert_eq!((status, body.as_str()), (503, "try again in a minute\n"));
    }

    #[tokio::test]
    async fn a_session_has_a_limit_for_each_method_and_a_partition_key() {
        let app = app().unwrap();
        let cart = || Request::get("/cart").header("cookie", "session=s-1");
        assert!(
            rate_limit(&app, cart().header("x-member", "1")).await.starts_with("\"pro\";r=5998;")
        );
        let (first, second) =
            (rate_limit(&app, cart()).await, rate_limit(&app, Request::get("/cart")).await);
        let partition_key = |field: &str| field.split(";pk=").nth(1).unwrap().to_owned();
        assert!(first.starts_with("\"free\";r=59;") && second.starts_with("\"free\";r=59;"));
        assert_ne!(
            partition_key(&first),
            partition_key(&second),
            "the second request is from another client"
        );
        assert_eq!(partition_key(&first), partition_key(&rate_limit(&app, cart()).await));
        // `HEAD` has a separate limit, because it is another method.
        assert!(rate_limit(&app, cart().method(Method::HEAD)).await.starts_with("\"free\";r=59;"));
    }

    #[tokio::test]
    async fn jobs_are_queued_and_tokens_are_reconciled() {
        let app = app().unwrap();
        let begin = std::time::Instant::now();
        for _ in 0..3 {
            assert_eq!(send(&app, Request::post("/jobs")).await.0, 200);
        }
        assert!(begin.elapsed() >= Duration::from_millis(390), "two delays of 200 ms");
        assert!(rate_limit(&app, Request::post("/model")).await.starts_with("\"tokens\";r=950;"));
        let next = rate_limit(&app, Request::post("/model")).await;
        assert!(next.starts_with("\"tokens\";r=947;"), "47 must be refunded: {next}");
    }

    #[tokio::test]
    async fn static_files_and_health_checks_are_exempt_and_outer_layers_read_the_decisions() {
        let app = app().unwrap();
        let peer: SocketAddr = "203.0.113.7:1".parse().unwrap();
        let outermost_rule = async |path: &str| {
            let request = Request::get(path).header("host", "h").extension(ConnectInfo(peer));
            let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            response
                .extensions()
                .get::<Decisions>()
                .map(|one| one.most_restrictive().rule().to_owned())
        };
        assert_eq!(outermost_rule("/beta").await.as_deref(), Some("service"));
        assert_eq!(
            (outermost_rule("/static/a.css").await, outermost_rule("/health").await),
            (None, None)
        );
    }
}
