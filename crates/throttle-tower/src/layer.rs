//! The layer that users name.

use std::{
    fmt,
    sync::{Arc, Once, OnceLock},
};

use bytes::Bytes;
use http::{Method, Response};
use throttle_core::Limiter;
use throttle_http::{
    ConfigError, Denial, ExtractCost, Headers, Options, RequestHead, Throttle, identity::ExtractKey,
};
use tower_layer::Layer;

use crate::RateThrottleService;

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
/// use throttle_core::{Algorithm, Limiter, Rule};
/// use throttle_tower::RateThrottleLayer;
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
#[derive(Clone)]
#[must_use]
pub struct RateThrottleLayer {
    /// Shared by clones, which routers make before they lay a layer around each route.
    inner: Arc<Inner>,
}

struct Inner {
    limiter: Result<Limiter, Arc<ConfigError>>,
    options: Options,
    built: OnceLock<Result<Arc<Throttle>, Arc<ConfigError>>>,
    /// Routers may lay a layer around a route for every request.
    failure_logged: Once,
}

/// What a layer is made of: a [`Limiter`], or with the feature `memory` a single
/// [`Rule`](throttle_core::Rule).
pub struct Source(Result<Limiter, ConfigError>);

impl From<Limiter> for Source {
    fn from(limiter: Limiter) -> Self {
        Self(Ok(limiter))
    }
}

impl From<&Limiter> for Source {
    fn from(limiter: &Limiter) -> Self {
        Self(Ok(limiter.clone()))
    }
}

#[cfg(feature = "memory")]
impl From<throttle_core::Rule> for Source {
    fn from(rule: throttle_core::Rule) -> Self {
        let limiter = Limiter::new(throttle_memory::MemoryStorage::new());
        Self(limiter.add_rule(rule).map(|()| limiter).map_err(ConfigError::Rules))
    }
}

impl RateThrottleLayer {
    /// Makes a layer of a [`Limiter`], or of a single [`Rule`](throttle_core::Rule) whose counts are
    /// kept in memory.
    pub fn new(source: impl Into<Source>) -> Self {
        Self::from_options(source, Options::new())
    }

    /// Makes a layer of options that were collected elsewhere: from a file, in a table of tests.
    pub fn from_options(source: impl Into<Source>, options: Options) -> Self {
        Self::of(source.into().0.map_err(Arc::new), options)
    }

    /// Applies a rule of the limiter; may be said several times. Without it, every rule applies.
    pub fn rule(self, name: impl Into<String>) -> Self {
        self.with(|options| options.rule(name))
    }

    /// Adds a rule to the limiter by its rate, such as `5/minute`, and applies it.
    pub fn limit(self, name: impl Into<String>, rate: impl Into<String>) -> Self {
        self.with(|options| options.limit(name, rate))
    }

    /// Says who is limited; default [`ClientIp`](throttle_http::identity::ClientIp).
    pub fn key(self, key: impl ExtractKey) -> Self {
        self.with(|options| options.key(key))
    }

    /// Says what a request costs, as a number or a function of the request; default: the rule's cost.
    /// A function that returns 0 lets the request pass uncharged.
    pub fn cost(self, cost: impl ExtractCost) -> Self {
        self.with(|options| options.cost(cost))
    }

    /// Limits only requests of these methods; default: all.
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.with(|options| options.methods(methods))
    }

    /// Lets requests pass uncharged for which `exempt` returns true; may be said several times.
    pub fn exempt(self, exempt: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|options| options.exempt(exempt))
    }

    /// Picks the header fields; default: those of the IETF draft, and `Retry-After`.
    pub fn headers(self, headers: Headers) -> Self {
        self.with(|options| options.headers(headers))
    }

    /// Answers refusals; default: 429 with problem details. The header fields are added to it.
    pub fn on_denied<T: Into<Bytes>>(
        self,
        answer: impl Fn(&Denial<'_>) -> Response<T> + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| options.on_denied(answer))
    }

    /// Decides, counts and writes header fields, but lets everything pass; a response that would have
    /// been a refusal has `X-RateLimit-Dry-Run: denied`.
    pub fn dry_run(self) -> Self {
        self.with(Options::dry_run)
    }

    /// Leaves the decisions in the extensions of the response too, of refusals as well, for layers
    /// around this one; default no. Handlers find them in those of the request in any case.
    pub fn response_extension(self, leave: bool) -> Self {
        self.with(|options| options.response_extension(leave))
    }

    /// Checks the layer, so that mistakes are errors when the service starts.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a rule or rate that cannot be taken, a rule that is not known (the text has
    /// those that are), a limiter without rules, and a trusted proxy that is no network.
    pub fn build(self) -> Result<Self, Arc<ConfigError>> {
        self.throttle()?;
        Ok(self)
    }

    fn of(limiter: Result<Limiter, Arc<ConfigError>>, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                limiter,
                options,
                built: OnceLock::new(),
                failure_logged: Once::new(),
            }),
        }
    }

    fn with(self, change: impl FnOnce(Options) -> Options) -> Self {
        let Inner { limiter, options, .. } = &*self.inner;
        Self::of(limiter.clone(), change(options.clone()))
    }

    fn throttle(&self) -> Result<Arc<Throttle>, Arc<ConfigError>> {
        let Inner { limiter, options, built, .. } = &*self.inner;
        let build = || {
            let throttle = Throttle::new(limiter.clone()?, options.clone());
            throttle.map(Arc::new).map_err(Arc::new)
        };
        built.get_or_init(build).clone()
    }
}

impl<S> Layer<S> for RateThrottleLayer {
    type Service = RateThrottleService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let throttle = self.throttle();
        if let Err(error) = &throttle {
            self.inner.failure_logged.call_once(|| {
                tracing::error!(%error, "the rate limit cannot be built; every request is answered with 500");
            });
        }
        RateThrottleService::new(inner, throttle.ok())
    }
}

impl fmt::Debug for RateThrottleLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateThrottleLayer")
            .field("limiter", &self.inner.limiter)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.0).finish()
    }
}
