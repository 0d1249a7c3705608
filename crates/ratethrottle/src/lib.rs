//! A rate limiter for Rust services: five algorithms, middleware for Axum, Tower, tonic and Actix, limits in
//! front of clients, storages of your choice.
//!
//! # Axum, nothing to install, nothing to configure
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
//!     .layer(RateThrottleLayer::new(Rule::per_minute("api", 100)));   // in memory, keyed by client address
//! axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
//! # Ok(()) }
//! ```
//!
//! # Actix
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
//! # Calls to others
//!
//! ```
//! # #[cfg(all(feature = "memory", feature = "tower"))]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use ratethrottle::{Algorithm, OutboundLimiter, Rule};
//!
//! // Ten a second to each host, evenly, and as its `Retry-After` and `RateLimit` ask.
//! let evenly = Rule::per_second("partner", 10).algorithm(Algorithm::LeakyBucket);
//! let outbound = OutboundLimiter::new(evenly).max_wait(Duration::from_secs(5)).respect_retry_after().build()?;
//! let permit = outbound.wait_for("api.example.com").await?; // or as a layer around the client
//! # drop(permit); Ok(()) }
//! ```
//!
//! # The engine alone
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
//! # Where names are
//!
//! Each public name has one path. The crate root has what programs begin with: limiters, rules, storages, the
//! middleware, and the options and answers that most of them use. A module has the rest of its subject, and
//! links to the root for what is there.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`limiter`] | lists, rates, numbers of single rules, errors, the builder of a [`Limiter`] |
//! | [`identity`] | keys: cookies, routes, trusted proxies, lookups, keys of your own |
//! | [`options`] | values of the middleware's options: costs, selections of rules, warnings |
//! | [`concurrency`] | limits of requests in flight |
//! | [`tower`], [`actix`] | the types behind [`RateThrottleLayer`] and [`RateThrottle`], to name them |
//! | [`outbound`] | limits in front of clients |
//! | [`storage`] | what a storage can do beyond the six operations of [`Storage`] |
//! | [`redis`] | options, errors and statistics of [`RedisStorage`] |
//! | [`resilience`] | what [`Resilience`] is composed of |
//! | [`engine`] | the arithmetic and clocks, for storages that decide whole requests and for simulations |
//! | [`testing`] | suites that a storage or an adapter of your own passes |
//!
//! # Features
//!
//! | feature | what it brings |
//! | --- | --- |
//! | `memory` (default) | [`MemoryStorage`]; layers and middleware made of a rule alone |
//! | `redis` | [`RedisStorage`], which several servers share: pooled, TLS, Sentinel, Cluster |
//! | `resilience` | [`Resilience`]: deadlines, a circuit breaker, failure modes, leases, a denial cache |
//! | `tower` | [`RateThrottleLayer`] for every Tower service over `http` requests, gRPC among them; [`OutboundLimiter`], limits in front of clients |
//! | `axum` | `tower`, and client addresses from axum's connect info |
//! | `actix` | [`RateThrottle`] for apps, scopes and resources of Actix Web |
//! | `testing` | [`testing`], for your development dependencies |
//!
//! The guide is in the folder `docs` of the repository: from getting started with Axum, Actix, gRPC and clients to
//! running limits on Redis, and coming from other limiters. `examples` has whole programs.

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
    ConfigError, Denial, Headers, OnError, RequestHead,
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
