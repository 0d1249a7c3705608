//! The layer that users name.

use std::sync::Arc;

use throttle_http::{ConfigError, LimitSource, Options, ThrottleBuilder};
use tower_layer::Layer;

use crate::{memory::MEMORY, service::RateThrottleService};

/// How many bytes of the body of a rejected request are read by default: 16 MiB.
const MAX_DRAIN: u64 = 16 * 1024 * 1024;

/// Limits the requests of the services that it is laid around.
///
/// It has no type parameters, and clones share one limiter, so that it can be kept in a field,
/// returned from a function, and laid around several routes.
///
/// # Errors
///
/// What cannot be used — an unknown rule, a bad rate — is an error of [`RateThrottleLayer::build`].
/// Where that is not called, it is logged when the layer is first laid around a service, which then
/// answers every request with 500.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_tower::*; }
/// use ratethrottle::{Algorithm, Limiter, RateThrottleLayer, Rule};
/// # use throttle_memory::MemoryStorage;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::new(MemoryStorage::new());
/// limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
/// limiter.add_rule(Rule::per_day("daily", 10_000))?;
///
/// let data = RateThrottleLayer::new(limiter.clone()).rule("burst").rule("daily").build()?;
/// let login = RateThrottleLayer::new(limiter).limit("login", "5/minute").build()?;
/// let app: Router = Router::new()
///     .route("/data", get(|| async { "data" }).layer(data))
///     .route("/login", get(|| async { "welcome" }).layer(login));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RateThrottleLayer {
    /// Shared by clones, which routers make before they wrap each route.
    builder: ThrottleBuilder,
    /// How many bytes of the body of a rejected request are read.
    max_drain: u64,
}

impl RateThrottleLayer {
    /// Makes a layer of a [`Limiter`](throttle_core::Limiter), or of a single [`Rule`](throttle_core::Rule) whose counts are
    /// kept in memory.
    pub fn new(source: impl Into<LimitSource>) -> Self {
        Self::from_options(source, Options::new())
    }

    /// Makes a layer of options that were collected elsewhere: from a file, in a table of tests.
    pub fn from_options(source: impl Into<LimitSource>, options: Options) -> Self {
        let limiter = source.into().into_limiter(MEMORY).map_err(Arc::new);
        Self { builder: ThrottleBuilder::new(limiter, options), max_drain: MAX_DRAIN }
    }

    throttle_http::option_methods!();

    /// Sets how many bytes of the body of a rejected request are read and discarded; default 16 MiB, and with 0
    /// none.
    ///
    /// A server that stops reading an upload closes the connection, and a client that is still sending, or a
    /// proxy in front, then sees a reset instead of the rejection. So a task keeps reading the body, without
    /// delaying the response. It ends after these bytes, after 5 seconds, or 250 to 500 milliseconds after the last
    /// byte. A process reads at most 256 bodies at once; further bodies are dropped unread. So are bodies over
    /// HTTP/2, where that does not reset the connection, bodies of requests with `Expect`, whose clients wait for
    /// the response, and all bodies outside of a tokio runtime.
    pub fn drain_rejected(mut self, max_bytes: u64) -> Self {
        self.max_drain = max_bytes;
        self
    }

    /// Checks the layer, so that mistakes are errors when the service starts.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a rule or rate that cannot be taken, a rule that is not known (the text has
    /// those that are), a limiter without rules, and a trusted proxy that is no network.
    pub fn build(self) -> Result<Self, Arc<ConfigError>> {
        self.builder.throttle()?;
        Ok(self)
    }

    fn with(self, change: impl FnOnce(&mut Options)) -> Self {
        Self { builder: self.builder.with(change), ..self }
    }
}

impl<S> Layer<S> for RateThrottleLayer {
    type Service = RateThrottleService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateThrottleService::new(inner, self.builder.throttle_or_log(), self.max_drain)
    }
}
