//! Limits of outbound calls.

mod future;
mod service;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use throttle_core::Key;
use throttle_http::{
    ConfigError, ExtractCost, LimitSource, OnError, Options, RequestHead, ThrottleBuilder,
    identity::{ExtractKey, RequestHost},
    outbound::{Dispatch, Dispatcher, OutboundError, OutboundPermit, WaitLimits},
};
use tower_layer::Layer;

pub use self::{future::OutboundFuture, service::OutboundService};
use crate::memory::MEMORY;

/// A limiter of outbound calls: a call that exceeds a limit is delayed instead of rejected.
///
/// It is a layer for clients that are Tower services of `http` requests, such as the clients of hyper-util and tonic.
/// For other clients, call [`OutboundLimiter::wait_for`] before each call. It has no type parameters. Clones
/// share one limiter, and the pauses that servers requested.
///
/// # Waiting
///
/// A call waits until its rules allow it. With a leaky bucket, it waits until its scheduled time. With
/// [`respect_retry_after`](Self::respect_retry_after), it also waits until the pause of the server is over. If this
/// takes longer than [`max_wait`](Self::max_wait), the call fails immediately, and the error contains the wait.
///
/// A call that is dropped before it is sent is refunded, even if the storage has not answered yet. A storage
/// that answers immediately refunds it immediately; otherwise a task of the tokio runtime does. Outside of a
/// runtime, the refund is tried once. A call that was sent is not refunded.
///
/// With most algorithms, waiting calls have no order: any of them may be the next. With a leaky bucket they are
/// sent in order, and each of them queries the storage only once. Use a leaky bucket if many calls wait. If the
/// scheduled time of a call falls into a pause of the server, its charge is refunded, and it is scheduled again after
/// the pause, so that the server does not receive all waiting calls at the same time.
///
/// # Errors
///
/// The service fails with a [`BoxError`](crate::BoxError): an [`OutboundError`], or the error of the inner
/// client. Configuration errors, such as an unknown rule or an invalid rate, are returned by
/// [`OutboundLimiter::build`]. Without `build`, every call fails with the error.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http::{Request, Response};
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_tower::*; pub mod outbound { pub use super::*; } }
/// use ratethrottle::{Algorithm, OutboundLimiter, Rule, outbound::OutboundError};
/// use tower::{Service, ServiceBuilder, ServiceExt};
/// # async fn example<C>(hyper_client: C) -> Result<(), tower::BoxError>
/// # where
/// #     C: Service<Request<String>, Response = Response<Bytes>> + Clone,
/// #     C::Error: Into<tower::BoxError>,
/// # {
///
/// // Ten calls a second to each host, at a constant rate. A call that would wait longer than five seconds fails.
/// let rule = Rule::per_second("partner", 10).algorithm(Algorithm::LeakyBucket);
/// let outbound = OutboundLimiter::new(rule).max_wait(Duration::from_secs(5)).respect_retry_after().build()?;
///
/// let mut client = ServiceBuilder::new().layer(outbound).service(hyper_client);
/// let request = Request::get("http://api.example.com/").body(String::new())?;
/// match client.ready().await?.call(request).await {
///     Ok(response) => println!("{}", response.status()),
///     Err(error) => match error.downcast_ref::<OutboundError>() {
///         Some(not_sent) => println!("retry in {:?}", not_sent.retry_after()),
///         None => return Err(error),
///     },
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct OutboundLimiter {
    builder: ThrottleBuilder,
    wait_limits: WaitLimits,
    /// Built once for all clones.
    dispatcher: Arc<OnceLock<Result<Arc<Dispatcher>, ConfigError>>>,
}

impl OutboundLimiter {
    /// Creates a limiter of calls from a [`Limiter`](throttle_core::Limiter), or from a single
    /// [`Rule`](throttle_core::Rule), whose counts are kept in memory.
    ///
    /// For limits that several processes share, use a limiter with a shared storage. Pauses that servers
    /// request are not shared.
    pub fn new(source: impl Into<LimitSource>) -> Self {
        let limiter = source.into().into_limiter(MEMORY);
        let builder = ThrottleBuilder::new(limiter, Options::new().key(RequestHost));
        Self { builder, wait_limits: WaitLimits::default(), dispatcher: Arc::default() }
    }

    /// Applies the rule of this name, which the limiter must have. May be called more than once. Default: every rule
    /// except those that [`limit`](Self::limit) added.
    pub fn rule(self, name: impl Into<String>) -> Self {
        self.with(|options| options.set_rule(name.into()))
    }

    /// Adds a rule with this rate, such as `5/minute`, to the limiter, and applies it. May be called more than once.
    /// The rule applies only where it is named.
    pub fn limit(self, name: impl Into<String>, rate: impl Into<String>) -> Self {
        self.with(|options| options.set_limit(name.into(), rate.into()))
    }

    /// Sets the key: calls with the same key share a limit. Default: [`RequestHost`], the host and port of the request.
    ///
    /// Some clients, such as tonic, send requests without a host. They need another key, for example
    /// [`Global`](throttle_http::identity::Global), one limit for all calls.
    pub fn key(self, key: impl ExtractKey) -> Self {
        self.with(|options| options.set_key(Arc::new(key)))
    }

    /// Sets the cost of a call to a number or a function of the request. The default is the cost of the rule. If the
    /// function returns 0, the call is sent without a charge and does not wait for pauses.
    pub fn cost(self, cost: impl ExtractCost) -> Self {
        self.with(|options| options.set_cost(Arc::new(cost)))
    }

    /// Exempts calls for which the function returns `true`: they are sent without a charge, and ignore pauses.
    /// May be called more than once.
    pub fn exempt(self, exempt: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|options| options.set_exempt(Arc::new(exempt)))
    }

    /// Sets the longest wait of a call in total. Default: 30 seconds. With `Duration::ZERO` no call waits; with
    /// [`Duration::MAX`] there is no bound.
    ///
    /// A call that would wait longer fails immediately with [`OutboundError::TooLong`] or
    /// [`OutboundError::Paused`]; [`retry_after`](OutboundError::retry_after) returns when it could be sent.
    /// The time that the storage takes to answer does not count.
    pub fn max_wait(mut self, at_most: Duration) -> Self {
        self.wait_limits.max_wait = at_most;
        self.with_new_dispatcher()
    }

    /// Respects pauses that the server requests, up to an hour; see
    /// [`respect_retry_after_up_to`](Self::respect_retry_after_up_to).
    pub fn respect_retry_after(self) -> Self {
        self.respect_retry_after_up_to(Duration::from_secs(3_600))
    }

    /// Delays the calls of a key while the server requests a pause in a response to one of them. Default: such
    /// requests are ignored.
    ///
    /// A server requests a pause with `Retry-After`, in seconds or as a date, in a response with 429, 503, or
    /// RESOURCE_EXHAUSTED or UNAVAILABLE of gRPC. In any response it can also do so with a policy of
    /// `RateLimit` ([IETF draft]) that has `r=0`; the pause is its `t`.
    ///
    /// A pause is at most `longest`, and at most a year, so that a faulty or hostile server cannot stop its
    /// clients forever.
    ///
    /// The response itself is returned unchanged, and calls are not retried. If an outer layer retries, its calls
    /// wait here like all others.
    ///
    /// [IETF draft]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11
    pub fn respect_retry_after_up_to(mut self, longest: Duration) -> Self {
        self.wait_limits.respect = Some(longest);
        self.with_new_dispatcher()
    }

    /// Sends calls without a limit while the storage fails. Default: they fail with [`OutboundError::Limiter`].
    /// The start and the end of a failure are logged once.
    pub fn pass_on_error(self) -> Self {
        self.with(|options| options.set_on_error(OnError::Pass))
    }

    /// Checks the configuration, so that errors are found when the program starts.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] for an invalid rule or rate, an unknown rule (the text lists the known ones),
    /// and a limiter without rules.
    pub fn build(self) -> Result<Self, ConfigError> {
        self.dispatcher()?;
        Ok(self)
    }

    /// Waits until a call with this key may be sent, and charges it. Use this for clients that are not Tower services.
    ///
    /// A constant [`cost`](Self::cost) applies. Functions of the options are not called, because there is no
    /// request to read.
    ///
    /// # Errors
    ///
    /// Returns an [`OutboundError`] if the call must not be sent; then nothing is charged.
    ///
    /// # Examples
    ///
    /// ```
    /// # use throttle_tower::{OutboundError, OutboundLimiter};
    /// # async fn get(_: &str) -> http::Response<()> { http::Response::default() }
    /// # async fn example(outbound: OutboundLimiter) -> Result<(), OutboundError> {
    /// let permit = outbound.wait_for("api.example.com").await?;
    /// let response = get("https://api.example.com/").await; // with any client
    /// permit.observe_response(response.status(), response.headers());
    /// # Ok(()) }
    /// ```
    pub async fn wait_for<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> Result<OutboundPermit, OutboundError> {
        let dispatcher = self.dispatcher().map_err(OutboundError::Config)?;
        match dispatcher.acquire_key(&key.into()) {
            Dispatch::Now(permit) => Ok(permit),
            Dispatch::Wait(later) => later.await,
            Dispatch::Never(not_sent) => Err(not_sent),
        }
    }

    /// Reports the response to a call that was sent without this limiter: if the server requests a pause, later
    /// calls with this key respect it, as with [`respect_retry_after`](Self::respect_retry_after).
    pub fn observe_response<'k>(
        &self,
        key: impl Into<Key<'k>>,
        status: StatusCode,
        headers: &HeaderMap,
    ) {
        if let Ok(dispatcher) = self.dispatcher() {
            dispatcher.observe_response(&key.into(), status, headers);
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        self.builder = self.builder.with(change);
        self.with_new_dispatcher()
    }

    /// Separates the dispatcher from its clones, which keep their options.
    fn with_new_dispatcher(mut self) -> Self {
        self.dispatcher = Arc::default();
        self
    }

    fn dispatcher(&self) -> Result<Arc<Dispatcher>, ConfigError> {
        let build = || {
            let throttle = self.builder.throttle()?;
            Dispatcher::new(throttle, self.wait_limits).map(Arc::new)
        };
        self.dispatcher.get_or_init(build).clone()
    }
}

impl<S> Layer<S> for OutboundLimiter {
    type Service = OutboundService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OutboundService::new(inner, self.dispatcher())
    }
}
