//! The layer.

use std::sync::Arc;

use axum_core::response::IntoResponse;
use throttle_http::{ConfigError, LimitSource, Options, Rejection, ThrottleBuilder};
use tower_layer::Layer;

use crate::{memory::MEMORY, rejection, service::RateThrottleService};

/// The default for the bytes that are read from the body of a rejected request: 16 MiB.
const MAX_DRAIN: u64 = 16 * 1024 * 1024;

/// A Tower layer that limits the requests of a service.
///
/// It has no type parameters. Clones share one limiter, so a layer can be kept in a field, returned from a
/// function, and added to several routes.
///
/// # Errors
///
/// Configuration errors, such as an unknown rule or an invalid rate, are returned by
/// [`RateThrottleLayer::build`]. Without `build`, the error is logged when the layer first wraps a service, and
/// that service answers every request with 500.
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
    /// Shared by clones, because routers clone a layer for each route.
    builder: ThrottleBuilder,
    /// The bytes that are read from the body of a rejected request.
    max_drain: u64,
}

impl RateThrottleLayer {
    /// Creates a layer from a [`Limiter`](throttle_core::Limiter), or from a single
    /// [`Rule`](throttle_core::Rule), whose counts are kept in memory.
    pub fn new(source: impl Into<LimitSource>) -> Self {
        Self::from_options(source, Options::new())
    }

    /// Creates a layer from options that were built separately, for example from a configuration file.
    pub fn from_options(source: impl Into<LimitSource>, options: Options) -> Self {
        let limiter = source.into().into_limiter(MEMORY);
        Self { builder: ThrottleBuilder::new(limiter, options), max_drain: MAX_DRAIN }
    }

    throttle_http::option_methods!();

    /// Sets the response to every rejection; default: problem details with the status of the reason.
    ///
    /// The function returns any [`IntoResponse`], as handlers do. It receives the
    /// [reason](throttle_http::RejectionReason), the decisions and the head of the request. A response of status 200
    /// gets the default status of the reason, so a body alone is enough. The header fields and, unless it is
    /// set, `Cache-Control: no-store` are added; gRPC requests get the response translated to a gRPC status.
    ///
    /// To set one default for several layers, clone a layer that has it.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::{Json, response::IntoResponse};
    /// # mod ratethrottle { pub use throttle_core::*; pub use throttle_tower::*; pub mod options { pub use throttle_http::*; } }
    /// use ratethrottle::{RateThrottleLayer, Rule, options::RejectionReason};
    ///
    /// # #[cfg(feature = "memory")]
    /// let layer = RateThrottleLayer::new(Rule::per_minute("api", 100)).on_rejection(|rejection| {
    ///     match rejection.reason() {
    ///         RejectionReason::Rule => {
    ///             Json(format!("too many requests, retry after {:?}", rejection.retry_after())).into_response()
    ///         }
    ///         reason => format!("rejected: {reason}").into_response(),
    ///     }
    /// });
    /// ```
    pub fn on_rejection<R: IntoResponse>(
        self,
        answer: impl Fn(&Rejection<'_>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| {
            let answer = move |rejection: &Rejection<'_>| rejection::to_bytes(answer(rejection));
            options.set_on_rejection(Arc::new(answer));
        })
    }

    /// Sets how many bytes of the body of a rejected request are read and discarded. Default: 16 MiB. 0 disables it.
    ///
    /// If a server stops reading an upload, it closes the connection. A client or proxy that is still sending
    /// then sees a connection reset instead of the rejection. Therefore a task continues to read the body,
    /// without delaying the response. It ends after this number of bytes, after 5 seconds, or 250 to 500
    /// milliseconds after the last byte.
    ///
    /// A body is dropped unread if the process is already reading 256 bodies, over HTTP/2 (where this does not
    /// reset the connection), if the request has `Expect` (its client waits for the response), and outside of a
    /// tokio runtime.
    pub fn drain_rejected(mut self, max_bytes: u64) -> Self {
        self.max_drain = max_bytes;
        self
    }

    /// Checks the configuration, so that errors are found when the service starts.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] for an invalid rule or rate, an unknown rule (the text lists the known ones),
    /// a limiter without rules, and an invalid key, path or cost.
    pub fn build(self) -> Result<Self, ConfigError> {
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
