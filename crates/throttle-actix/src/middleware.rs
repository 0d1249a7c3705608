//! The middleware.

use std::{
    fmt,
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
};
use throttle_http::{ConfigError, LimitSource, Options, Rejection, ThrottleBuilder};

#[cfg(feature = "memory")]
use crate::workers::{self, Shared};
use crate::{
    convert::{self, Carry, carry},
    future::EitherResponse,
    memory::MEMORY,
    service::RateThrottleService,
};

/// A middleware that limits the requests of an app, scope or resource.
///
/// It has no type parameters. Clones share one limiter, so a throttle can be kept in a field, returned from a
/// function, and added to several scopes.
///
/// # Workers
///
/// A server calls its factory once for each worker and each listener. All workers share one limit if the throttle is
///
/// - created outside of the factory, and cloned in it;
/// - created in the factory from a [`Limiter`](throttle_core::Limiter) that was created outside; or
/// - created in the factory from a [`Rule`](throttle_core::Rule): throttles that the workers create at the same
///   place in the code, from equal rules, share one limiter.
///
/// If one call of the factory runs the same code several times, for example in a loop, the first throttles of all
/// workers share one limiter, the second throttles another one, and so on. Two servers in one process with the same
/// factory also share their limiters, unless each runs in its own actix `System`. Apps in tests do not share limiters,
/// because they do not run in worker threads.
///
/// If the factory itself creates a [`Limiter`](throttle_core::Limiter) with an in-memory storage, each worker
/// has its own limit; a warning is logged.
///
/// # Errors
///
/// Configuration errors, such as an unknown rule or an invalid rate, are returned by [`RateThrottle::build`].
/// Without `build`, the error is logged when the middleware first wraps a service, and that service answers
/// every request with 500.
///
/// Handlers and extractors return responses, but an inner middleware can return an error. It is returned
/// unchanged, so outer middleware sees its type. The response that is made from it later has no header
/// fields of this throttle.
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
    /// Keeps the limiter alive that the workers share.
    #[cfg(feature = "memory")]
    shared: Option<Arc<Shared>>,
}

impl RateThrottle {
    /// Creates a middleware from a [`Limiter`](throttle_core::Limiter), or from a single
    /// [`Rule`](throttle_core::Rule), whose counts are kept in memory.
    #[track_caller]
    pub fn new(source: impl Into<LimitSource>) -> Self {
        Self::from_options(source, Options::new())
    }

    /// Creates a middleware from options that were built separately, for example from a configuration file.
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
            workers::warn_about_separate_limiters(limiter);
        }
        let limiter = source.into_limiter(MEMORY);
        Self {
            builder: ThrottleBuilder::new(limiter, options),
            carried: Arc::default(),
            #[cfg(feature = "memory")]
            shared: None,
        }
    }

    throttle_http::option_methods!();

    /// Sets the response to every rejection; default: problem details with the status of the reason.
    ///
    /// The function returns an [`HttpResponse`], or a value that converts into one, as handlers do. It receives the
    /// [reason](throttle_http::RejectionReason), the decisions and the head of the request. A response of status 200
    /// gets the default status of the reason, so a body alone is enough. The header fields and, unless it is
    /// set, `Cache-Control: no-store` are added; gRPC requests get the response translated to a gRPC status.
    ///
    /// To set one default for several layers, clone a layer that has it.
    ///
    /// # Examples
    ///
    /// ```
    /// use actix_web::HttpResponse;
    /// # mod ratethrottle { pub use throttle_core::*; pub use throttle_actix::*; pub mod options { pub use throttle_http::*; } }
    /// use ratethrottle::{RateThrottle, Rule, options::RejectionReason};
    ///
    /// # #[cfg(feature = "memory")]
    /// let throttle = RateThrottle::new(Rule::per_minute("api", 100)).on_rejection(|rejection| {
    ///     match rejection.reason() {
    ///         RejectionReason::Rule => {
    ///             HttpResponse::Ok().json(format!("too many requests, retry after {:?}", rejection.retry_after()))
    ///         }
    ///         reason => HttpResponse::Ok().body(format!("rejected: {reason}")),
    ///     }
    /// });
    /// ```
    pub fn on_rejection<R: Into<HttpResponse>>(
        self,
        answer: impl Fn(&Rejection<'_>) -> R + Send + Sync + 'static,
    ) -> Self {
        self.with(|options| {
            let answer =
                move |rejection: &Rejection<'_>| convert::from_actix(answer(rejection).into());
            options.set_on_rejection(Arc::new(answer));
        })
    }

    /// Copies a value of this type to the extensions that the functions of the options receive. May be called more
    /// than once. Default: no values are copied.
    ///
    /// Use it for values that outer middleware inserted into the extensions of the request, such as the
    /// authenticated user.
    ///
    /// ```
    /// # mod ratethrottle { pub use throttle_actix::*; pub use throttle_core::*; pub use throttle_http::*; }
    /// use ratethrottle::{RateThrottle, Rule};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// # #[cfg(feature = "memory")]
    /// let throttle = RateThrottle::new(Rule::per_minute("api", 100))
    ///     .extension::<User>()
    ///     .key_by(|head| head.extensions().get::<User>().map(|user| user.0.clone()));
    /// ```
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self) -> Self {
        self.carried = self.carried.iter().copied().chain([carry::<T> as Carry]).collect();
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
        workers::end_factory_call();
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
