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
//! use ratethrottle::{Algorithm, Outgoing, Rule};
//!
//! // Ten a second to each host, evenly, and as its `Retry-After` and `RateLimit` ask.
//! let evenly = Rule::per_second("partner", 10).algorithm(Algorithm::LeakyBucket);
//! let outgoing = Outgoing::new(evenly).max_wait(Duration::from_secs(5)).obey_server().build()?;
//! let permit = outgoing.wait_for("api.example.com").await?; // or as a layer around the client
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
//! # Features
//!
//! | feature | what it brings |
//! | --- | --- |
//! | `memory` (default) | [`MemoryStorage`]; layers and middleware made of a rule alone |
//! | `redis` | [`RedisStorage`], which several servers share: pooled, TLS, Sentinel, Cluster |
//! | `resilience` | [`Resilience`]: deadlines, a circuit breaker, failure modes, leases, denials at hand |
//! | `tower` | [`RateThrottleLayer`] for every Tower service over `http` requests, gRPC among them; [`Outgoing`], limits in front of clients |
//! | `axum` | `tower`, and client addresses from axum's connect info |
//! | `actix` | [`RateThrottle`] for apps, scopes and resources of Actix Web |
//!
//! The guide is in the folder `docs` of the repository: from getting started with Axum, Actix, gRPC and clients to
//! running limits on Redis, and coming from other limiters. `examples` has whole programs.

mod connect;

pub use self::connect::{ConnectError, connect};
#[cfg(feature = "actix")]
pub use throttle_actix::{
    NoDecisions, RateThrottle, ThrottleDecisions, ThrottledFuture, ThrottledService, http,
};
pub use throttle_core::{
    Algorithm, AllowList, AtomicStorage, Charge, CheckedRule, Clock, Concurrency, CorruptState,
    Decision, Decisions, DenyList, Effect, Emulated, Entered, Error, HeldPlace, InvalidEntry,
    InvalidRule, Key, Limiter, LimiterBuilder, ListEntry, ListFollower, ListStorage, Listed,
    LocalPlaces, MAX_KEY_LEN, MAX_LIMIT, MAX_LOG_LIMIT, MAX_NAME_LEN, MAX_WINDOW, MIN_WINDOW,
    ManualClock, Metrics, Micros, Outcome, OwnedCharge, Place, PlaceStorage, PlacesOf, Rate,
    Receipt, Refund, Reply, Request, Rule, RuleMetrics, RuleStatus, Scope, SharedLists, Sleep,
    State, States, Status, Storage, StorageError, SystemClock, Taken, UnknownAlgorithm, Value,
    Verdict, Violation, async_trait, give_back, look, settle, settle_one,
};
#[cfg(any(feature = "tower", feature = "actix"))]
pub use throttle_http::{
    ActualCost, ConfigError, ConfigWarning, ContentLength, Denial, ExtractCost, Headers, InFlight,
    IntoRules, InvalidCost, InvalidPath, KeptPlaces, LimitSource, MissingLength, NoCost, OnError,
    Options, PickedRules, RequestHead, RequestSample, ResponseHead, Selection, ShortSecret,
    identity::{
        AsyncKey, ClientIp, Cookie, ExtractKey, ForwardedHeader, Global, Header, IntoKey,
        IntoKeyed, InvalidKey, InvalidProxy, KeyError, Keyed, LaterKey, Missing, NoKey,
        RequestHost, RequestMethod, RequestPath, RoutePattern, TrustedProxies,
    },
};
#[cfg(feature = "memory")]
pub use throttle_memory::{MemoryStorage, MemoryStorageBuilder};
#[cfg(feature = "redis")]
pub use throttle_redis::{
    Error as RedisError, Figures as RedisFigures, Info as RedisInfo, NodeInfo as RedisNodeInfo,
    RedisStorage, RedisStorageBuilder, SharedConnection, Tls, redis,
};
#[cfg(feature = "resilience")]
pub use throttle_resilience::{
    Accuracy, Circuit, CircuitBreaker, CircuitChange, CircuitFigures, CircuitState, Deadline,
    Deadlines, DenialFigures, Error as ResilienceError, Fallback, FallbackChange, FallbackFigures,
    LeaseFigures, Leases, LeasesBuilder, LocalDenials, Mode, Modes, Resilience, ResilienceFigures,
    Resilient, Servers,
};
#[cfg(feature = "tower")]
pub use throttle_tower::{
    BoxError, NotSent, Outgoing, OutgoingFuture, OutgoingPermit, OutgoingService,
    RateThrottleLayer, RateThrottleService, ResponseBody, ResponseFuture,
};
