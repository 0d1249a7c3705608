//! A rate limiter for Rust services: middleware for Axum, Tower, tonic and Actix Web, limits for outbound calls,
//! five algorithms, and counts in memory, in Redis or in a storage of your own.
//!
//! A *rule* is a limit, such as 100 requests a minute. A *limiter* has rules and a *storage* for their counts.
//! Requests with the same *key*, by default the client address, share a limit. A request that exceeds a limit is
//! rejected, over HTTP with 429 (Too Many Requests).
//!
//! # Axum
//!
//! With the feature `axum`, one layer limits a service. It needs no database and no configuration:
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "axum"))]
//! # async fn serve() -> std::io::Result<()> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! use std::net::SocketAddr;
//! use axum::{Router, routing::get};
//! use ratethrottle::{RateThrottleLayer, Rule};
//!
//! let app = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(RateThrottleLayer::new(Rule::per_minute("api", 100))); // in memory, by client address
//! axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
//! # Ok(()) }
//! ```
//!
//! # Actix Web
//!
//! With the feature `actix`:
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "actix"))]
//! # fn serve() {
//! use actix_web::{App, HttpServer, web};
//! use ratethrottle::{RateThrottle, Rule};
//!
//! let throttle = RateThrottle::new(Rule::per_minute("api", 100));
//! let server = HttpServer::new(move || {
//!     App::new().wrap(throttle.clone()).route("/", web::get().to(async || "hello"))
//! });
//! # }
//! ```
//!
//! # Outbound calls
//!
//! With the feature `tower`, a client respects the limits of a server. Calls that exceed a limit are delayed:
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "tower"))]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use ratethrottle::{Algorithm, OutboundLimiter, Rule};
//!
//! // Ten calls a second to each host, at a constant rate, and later if the server requests it with `Retry-After` or
//! // `RateLimit`.
//! let rule = Rule::per_second("partner", 10).algorithm(Algorithm::LeakyBucket);
//! let outbound = OutboundLimiter::new(rule).max_wait(Duration::from_secs(5)).respect_retry_after().build()?;
//! let permit = outbound.wait_for("api.example.com").await?; // or add it as a layer to the client
//! # drop(permit); Ok(()) }
//! ```
//!
//! # Without a framework
//!
//! A [`Limiter`] can be called directly, for example from a message consumer:
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # async fn example() -> Result<(), ratethrottle::Error> {
//! use std::time::Duration;
//! use ratethrottle::{Limiter, MemoryStorage, Rule};
//!
//! let limiter = Limiter::new(MemoryStorage::new());
//! limiter.add_rule(Rule::new("api_limit", 1000, Duration::from_secs(60)))?;
//!
//! let decision = limiter.check("192.168.1.100", "api_limit").await?;
//! if decision.is_allowed() {
//!     println!("{} left", decision.remaining());
//! } else {
//!     println!("retry in {:?}", decision.retry_after());
//! }
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! | feature | contents |
//! | --- | --- |
//! | `memory` (default) | [`MemoryStorage`]; layers and middleware that are built from a rule alone |
//! | `redis` | [`RedisStorage`], which several servers share: connection pool, TLS, Sentinel, Cluster |
//! | `resilience` | [`Resilience`]: deadlines, a circuit breaker, failure modes, leases, a denial cache |
//! | `tower` | [`RateThrottleLayer`] for every Tower service with `http` requests, including gRPC; [`OutboundLimiter`] for calls of a client |
//! | `axum` | `tower`, client addresses from axum's connect info, and [`RateDecisions`] as an argument of handlers |
//! | `actix` | [`RateThrottle`] for apps, scopes and resources of Actix Web, and [`RateDecisions`] as an argument of handlers |
//! | `testing` | [`testing`], for your development dependencies |
//!
//! # Modules
//!
//! Each public name has one path. The crate root has the names that most programs use: limiters, rules, storages,
//! the middleware, and the common options. Each module has the other names of its subject.
//!
//! | module | contents |
//! | --- | --- |
//! | [`limiter`] | allow and deny lists, rates, metrics of single rules, errors, the builder of a [`Limiter`] |
//! | [`identity`] | keys: cookies, routes, trusted proxies, asynchronous lookups, custom keys |
//! | [`options`] | types of the middleware's options: costs, selected rules, warnings |
//! | [`concurrency`] | limits of requests in flight |
//! | [`tower`], [`actix`] | the service and future types of [`RateThrottleLayer`] and [`RateThrottle`] |
//! | [`outbound`] | limits of outbound calls |
//! | [`storage`] | storages beyond the six operations of [`Storage`] |
//! | [`redis`] | options, errors and statistics of [`RedisStorage`] |
//! | [`resilience`] | the parts of [`Resilience`] |
//! | [`engine`] | arithmetic and clocks, for storages that decide whole requests and for simulations |
//! | [`testing`] | conformance suites for custom storages and adapters |
//!
//! # Where to go next
//!
//! - [`RateThrottleLayer`] and [`RateThrottle`] document the options.
//! - [`Algorithm`] compares the algorithms, and [`Rule`] shows how to set them.
//! - The guide, in the folder `docs` of the repository, has a page for each subject: getting started, keys and proxies,
//!   Redis, failure modes, and migration from other limiters.
//! - The folder `examples` has complete programs.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "actix")]
pub mod actix;
pub mod concurrency;
mod connect;
pub mod engine;
#[cfg(any(feature = "tower", feature = "actix"))]
pub mod identity;
pub mod limiter;
#[cfg(any(feature = "tower", feature = "actix"))]
pub mod options;
#[cfg(feature = "tower")]
pub mod outbound;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "resilience")]
pub mod resilience;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tower")]
pub mod tower;

pub use self::connect::{ConnectError, connect};
#[cfg(feature = "actix")]
pub use throttle_actix::RateThrottle;
pub use throttle_core::{
    Algorithm, Decision, Decisions, Error, Key, Limiter, ManualClock, Metrics, Rule, Status,
    Storage, StorageError, Value, Violation, async_trait,
};
#[cfg(any(feature = "axum", feature = "actix"))]
pub use throttle_http::RateDecisions;
#[cfg(any(feature = "tower", feature = "actix"))]
pub use throttle_http::{
    ConfigError, Headers, OnError, Rejection, RejectionReason, RequestHead,
    identity::{ClientIp, Header},
};
#[cfg(feature = "memory")]
pub use throttle_memory::MemoryStorage;
#[cfg(feature = "redis")]
pub use throttle_redis::{RedisStorage, Tls};
#[cfg(feature = "resilience")]
pub use throttle_resilience::Resilience;
#[cfg(feature = "tower")]
pub use throttle_tower::{OutboundLimiter, RateThrottleLayer};
