//! The middleware that users name.

use std::{
    fmt,
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
};
use throttle_http::{ConfigError, LimitSource, Options, ThrottleBuilder};

#[cfg(feature = "memory")]
use crate::workers::{self, Shared};
use crate::{
    convert::{Carry, carry},
    future::EitherResponse,
    memory::MEMORY,
    service::RateThrottleService,
};

/// Limits the requests of the app, scope or resource that it is wrapped around.
///
/// It has no type parameters, and clones share one limiter, so that it can be kept in a field,
/// returned from a function, and wrapped around several scopes.
///
/// # Workers
///
/// A server calls its factory once for each worker and each listener. They share one limit
///
/// - if the throttle is made outside the factory, and cloned into it;
/// - if it is made inside the factory, of a [`Limiter`](throttle_core::Limiter) that was made outside;
/// - if it is made inside the factory, of a [`Rule`](throttle_core::Rule): what the workers of a server
///   make at the same place of the code, of an equal rule, is one limiter. Where one call of the factory
///   does so several times, in a loop or a function of yours, the first of each worker is one, the
///   second of each another, and so on. Two servers of one process with the same factory share, too,
///   unless each runs in an actix `System` of its own. Nothing is shared outside the threads of
///   workers: apps of tests are apart.
///
/// A [`Limiter`](throttle_core::Limiter) over a storage in memory that is made inside the factory is one for each worker; a line
/// of the log says so.
///
/// # Errors
///
/// What cannot be used — an unknown rule, a bad rate — is an error of [`RateThrottle::build`]. Where
/// that is not called, it is logged when the middleware is first wrapped around a service, which then
/// answers every request with 500.
///
/// An error that a middleware within returns (handlers and extractors return responses) is passed on as
/// it is, so that those around can still tell its type; the response that is made of it further out has
/// no header fields of this one.
///
/// # Examples
///
/// ```
/// use actix_web::{App, HttpServer, web};
/// # mod ratethrottle { pub use throttle_actix::*; pub use throttle_core::*; }
/// use ratethrottle::{Algorithm, Limiter, RateThrottle, Rule};
/// # use throttle_memory::MemoryStorage;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::new(MemoryStorage::new());
/// limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
/// limiter.add_rule(Rule::per_day("daily", 10_000))?;
///
/// let data = RateThrottle::new(limiter.clone()).rule("burst").rule("daily").build()?;
/// let login = RateThrottle::new(limiter).limit("login", "5/minute").build()?;
/// let server = HttpServer::new(move || {
///     App::new()
///         .service(web::resource("/data").wrap(data.clone()).get(async || "data"))
///         .service(web::scope("/login").wrap(login.clone()).route("", web::post().to(async || "welcome")))
/// });
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RateThrottle {
    /// Shared by clones.
    builder: ThrottleBuilder,
    carried: Arc<[Carry]>,
    /// Keeps what workers share for as long as one of them has it.
    #[cfg(feature = "memory")]
    shared: Option<Arc<Shared>>,
}

impl RateThrottle {
    /// Makes a middleware of a [`Limiter`](throttle_core::Limiter), or of a single [`Rule`](throttle_core::Rule) whose counts
    /// are kept in memory.
    #[track_caller]
    pub fn new(source: impl Into<LimitSource>) -> Self {
        Self::from_options(source, Options::new())
    }

    /// Makes a middleware of options that were collected elsewhere: from a file, in a table of tests.
    #[track_caller]
    pub fn from_options(source: impl Into<LimitSource>, options: Options) -> Self {
        let source = source.into();
        #[cfg(feature = "memory")]
        if let LimitSource::Rule(rule) = &source
            && let Some(shared) = workers::shared(rule)
        {
            let builder = ThrottleBuilder::new(shared.limiter.clone(), options);
            return Self { builder, carried: Arc::default(), shared: Some(shared) };
        }
        #[cfg(feature = "memory")]
        if let LimitSource::Limiter(limiter) = &source {
            workers::look_at(limiter);
        }
        let limiter = source.into_limiter(MEMORY).map_err(Arc::new);
        Self {
            builder: ThrottleBuilder::new(limiter, options),
            carried: Arc::default(),
            #[cfg(feature = "memory")]
            shared: None,
        }
    }

    throttle_http::option_methods!();

    /// Shows the functions among the options a value of this type that middleware around this one put
    /// into the extensions of the request, such as who has logged in; may be said several times.
    ///
    /// ```
    /// # mod ratethrottle { pub use throttle_actix::*; pub use throttle_core::*; pub use throttle_http::*; }
    /// use ratethrottle::{RateThrottle, RequestHead, Rule};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// # #[cfg(feature = "memory")]
    /// let throttle = RateThrottle::new(Rule::per_minute("api", 100))
    ///     .extension::<User>()
    ///     .key(|head: &RequestHead<'_>| head.extensions().get::<User>().map(|user| user.0.clone()));
    /// ```
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self) -> Self {
        self.carried = self.carried.iter().copied().chain([carry::<T> as Carry]).collect();
        self
    }

    /// Checks the middleware, so that mistakes are errors when the service starts.
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

impl<S, B> Transform<S, ServiceRequest> for RateThrottle
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>>,
    B: MessageBody + 'static,
{
    type Response = EitherResponse<B>;
    type Error = S::Error;
    type Transform = RateThrottleService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        #[cfg(feature = "memory")]
        workers::factory_is_done();
        let throttle = self.builder.throttle_or_log();
        ready(Ok(RateThrottleService::new(
            inner,
            throttle,
            Arc::clone(&self.carried),
            #[cfg(feature = "memory")]
            self.shared.clone(),
        )))
    }
}

impl fmt::Debug for RateThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RateThrottle");
        #[cfg(feature = "memory")]
        debug.field("shared_by_workers", &self.shared.is_some());
        debug.field("builder", &self.builder).finish_non_exhaustive()
    }
}
