//! Limits in front of a client.

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

/// Limits the calls that a client makes: what is too much waits, and is not refused.
///
/// It is a layer for clients that are Tower services of `http` requests, such as hyper-util's and
/// tonic's; others ask it by hand, with [`OutboundLimiter::wait_for`]. It has no type parameters, and clones
/// share one limiter and what servers asked for.
///
/// # Waiting
///
/// A call waits until its rules have a place, by a leaky bucket until its turn has come, and by
/// [`respect_retry_after`](Self::respect_retry_after) until the server's pause is over. Where that is longer than
/// [`max_wait`](Self::max_wait), it fails at once, with when a place is there. A call that is dropped
/// before it is sent gives back what it was charged, also if the storage was still being asked: at once in
/// a storage that answers at once, else by a task of the tokio runtime; without a runtime the storage is
/// asked once. What was sent is not given back.
///
/// Waiting calls are not queued: of several, any may be the next. By a leaky bucket each has its
/// turn, in the order in which they came, and asks the storage once: take that one where many wait. A turn
/// that comes while the server's pause lasts is given back, and the call asks for another after it, so that
/// the server is not met by all who waited at once.
///
/// # Errors
///
/// The service fails with a [`BoxError`](crate::BoxError): a [`OutboundError`], or the error of the client
/// within. What cannot be used — an unknown rule, a bad rate — is an error of [`OutboundLimiter::build`]; where
/// that is not called, every call fails with it.
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
/// // Ten a second to each host, evenly; what would wait for more than five seconds fails.
/// let evenly = Rule::per_second("partner", 10).algorithm(Algorithm::LeakyBucket);
/// let outbound = OutboundLimiter::new(evenly).max_wait(Duration::from_secs(5)).respect_retry_after().build()?;
///
/// let mut client = ServiceBuilder::new().layer(outbound).service(hyper_client);
/// let request = Request::get("http://api.example.com/").body(String::new())?;
/// match client.ready().await?.call(request).await {
///     Ok(response) => println!("{}", response.status()),
///     Err(error) => match error.downcast_ref::<OutboundError>() {
///         Some(not_sent) => println!("come back in {:?}", not_sent.retry_after()),
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
    /// Made once for all clones.
    dispatcher: Arc<OnceLock<Result<Arc<Dispatcher>, Arc<ConfigError>>>>,
}

impl OutboundLimiter {
    /// Takes a [`Limiter`](throttle_core::Limiter), or a single [`Rule`](throttle_core::Rule) whose counts
    /// are kept in memory.
    ///
    /// Limits that several processes share need a limiter over a storage that they share; what a
    /// server asked for each process learns by itself.
    pub fn new(source: impl Into<LimitSource>) -> Self {
        let limiter = source.into().into_limiter(MEMORY).map_err(Arc::new);
        let builder = ThrottleBuilder::new(limiter, Options::new().key(RequestHost));
        Self { builder, wait_limits: WaitLimits::default(), dispatcher: Arc::default() }
    }

    /// Applies a rule of the limiter; may be said several times. Without it, every rule applies.
    pub fn rule(self, name: impl Into<String>) -> Self {
        self.with(|options| options.set_rule(name.into()))
    }

    /// Adds a rule to the limiter by its rate, such as `5/minute`, and applies it.
    pub fn limit(self, name: impl Into<String>, rate: impl Into<String>) -> Self {
        self.with(|options| options.set_limit(name.into(), rate.into()))
    }

    /// Says what calls are told apart by; default [`RequestHost`], the host and port they go to. Clients whose
    /// requests have no host, such as tonic's, need another:
    /// [`Global`](throttle_http::identity::Global) is one limit for all of them.
    pub fn key(self, key: impl ExtractKey) -> Self {
        self.with(|options| options.set_key(Arc::new(key)))
    }

    /// Says what a call costs, as a number or a function of the request; default: the rule's cost. A
    /// function that returns 0 lets the call pass uncharged, and without a pause.
    pub fn cost(self, cost: impl ExtractCost) -> Self {
        self.with(|options| options.set_cost(Arc::new(cost)))
    }

    /// Lets calls pass uncharged, and without a pause, for which `exempt` returns true; may be said
    /// several times.
    pub fn exempt(self, exempt: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with(|options| options.set_exempt(Arc::new(exempt)))
    }

    /// Sets how long a call waits at most, all in all; default 30 seconds. `Duration::ZERO` is never,
    /// [`Duration::MAX`] is as long as it takes.
    ///
    /// A call that would wait longer fails at once with [`OutboundError::TooLong`] or [`OutboundError::Paused`],
    /// whose [`retry_after`](OutboundError::retry_after) is when it could be sent. The time that the storage
    /// takes to answer is not in it.
    pub fn max_wait(mut self, at_most: Duration) -> Self {
        self.wait_limits.max_wait = at_most;
        self.anew()
    }

    /// Obeys the server, for an hour at most; see [`respect_retry_after_up_to`](Self::respect_retry_after_up_to).
    pub fn respect_retry_after(self) -> Self {
        self.respect_retry_after_up_to(Duration::from_secs(3_600))
    }

    /// Lets calls of a key wait for as long as the server asked in an answer to one of them; default: what it
    /// asks for is passed on and not looked at.
    ///
    /// It asks by `Retry-After`, in seconds or with a date, on 429, 503, and gRPC's RESOURCE_EXHAUSTED and
    /// UNAVAILABLE; and on any answer by a policy of `RateLimit` ([draft 10]) with `r=0`, until its `t`.
    /// Whatever it says, it is obeyed for no longer than `longest`, nor than a year, so that a server that
    /// is mistaken or hostile cannot stop its clients for good.
    ///
    /// The answer itself is passed on: nothing is sent again by itself. A layer around this one that
    /// retries waits here, as every call does.
    ///
    /// [draft 10]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10
    pub fn respect_retry_after_up_to(mut self, longest: Duration) -> Self {
        self.wait_limits.respect = Some(longest);
        self.anew()
    }

    /// Lets calls pass without a limit while the storage fails; default: they fail with
    /// [`OutboundError::Limiter`]. That it failed is logged once, and that it works again once.
    pub fn pass_on_error(self) -> Self {
        self.with(|options| options.set_on_error(OnError::Pass))
    }

    /// Checks it, so that mistakes are errors when the program starts.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a rule or rate that cannot be taken, a rule that is not known (the text has
    /// those that are), and a limiter without rules.
    pub fn build(self) -> Result<Self, Arc<ConfigError>> {
        self.dispatcher()?;
        Ok(self)
    }

    /// Waits until a call may be sent, and charges the key what one costs: for clients that are no
    /// Tower services. Of the options a [`cost`](Self::cost) that is a number counts; functions are not asked,
    /// since there is no request to show.
    ///
    /// # Errors
    ///
    /// [`OutboundError`], and then nothing is charged.
    ///
    /// # Examples
    ///
    /// ```
    /// # use throttle_tower::{OutboundError, OutboundLimiter};
    /// # async fn get(_: &str) -> http::Response<()> { http::Response::default() }
    /// # async fn example(outbound: OutboundLimiter) -> Result<(), OutboundError> {
    /// let permit = outbound.wait_for("api.example.com").await?;
    /// let response = get("https://api.example.com/").await; // by whatever client
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

    /// Tells what a server answered to a call that did not ask before: later calls of the key respect it,
    /// as [`respect_retry_after`](Self::respect_retry_after) says.
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
        self.anew()
    }

    /// Changes nothing that clones have.
    fn anew(mut self) -> Self {
        self.dispatcher = Arc::default();
        self
    }

    fn dispatcher(&self) -> Result<Arc<Dispatcher>, Arc<ConfigError>> {
        let build = || {
            let throttle = self.builder.throttle()?;
            Ok(Arc::new(Dispatcher::new(throttle, self.wait_limits).map_err(Arc::new)?))
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
