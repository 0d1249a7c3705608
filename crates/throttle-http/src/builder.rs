//! A limiter and its options, before they are built.

use std::{
    fmt,
    sync::{Arc, Once, OnceLock},
};

use throttle_core::{Limiter, Rule};

use bytes::Bytes;
use http::Response;

use crate::{
    config_error::ConfigError,
    head::RequestHead,
    options::Options,
    rejection::{OnRejection, Rejected},
    throttle::Throttle,
};

/// The limits of a middleware: a [`Limiter`], or a single [`Rule`] if the adapter has its own storage.
#[derive(Debug)]
#[non_exhaustive]
pub enum LimitSource {
    /// A limiter; its clones share its rules and counts.
    Limiter(Limiter),
    /// A rule; the middleware keeps its own counts.
    Rule(Rule),
}

impl LimitSource {
    /// Returns the limiter, or builds one for the rule with `make`, which an adapter with a storage provides.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] if the rule is invalid, or if there is no storage for it.
    pub fn into_limiter(self, make: Option<fn() -> Limiter>) -> Result<Limiter, ConfigError> {
        match self {
            Self::Limiter(limiter) => Ok(limiter),
            Self::Rule(rule) => {
                let limiter = make.ok_or(ConfigError::NoStorage)?();
                limiter.add_rule(rule)?;
                Ok(limiter)
            }
        }
    }
}

impl From<Limiter> for LimitSource {
    fn from(limiter: Limiter) -> Self {
        Self::Limiter(limiter)
    }
}

impl From<&Limiter> for LimitSource {
    fn from(limiter: &Limiter) -> Self {
        Self::Limiter(limiter.clone())
    }
}

impl From<Arc<Limiter>> for LimitSource {
    fn from(limiter: Arc<Limiter>) -> Self {
        Self::from(&*limiter)
    }
}

impl From<&Arc<Limiter>> for LimitSource {
    fn from(limiter: &Arc<Limiter>) -> Self {
        Self::from(&**limiter)
    }
}

#[cfg(feature = "rule-sources")]
impl From<Rule> for LimitSource {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

/// A limiter and options, from which one [`Throttle`] is built for all clones.
#[derive(Clone)]
pub struct ThrottleBuilder {
    inner: Arc<Inner>,
}

struct Inner {
    limiter: Result<Limiter, ConfigError>,
    options: Options,
    built: OnceLock<Result<Arc<Throttle>, ConfigError>>,
    /// Built only once, because some routers wrap a route in the middleware for every request.
    failure_logged: Once,
}

impl ThrottleBuilder {
    /// Creates a builder. If the limiter is an error, building returns it.
    #[must_use]
    pub fn new(limiter: Result<Limiter, ConfigError>, options: Options) -> Self {
        let (built, failure_logged) = (OnceLock::new(), Once::new());
        Self { inner: Arc::new(Inner { limiter, options, built, failure_logged }) }
    }

    /// Returns a builder with changed options. Earlier clones keep their options.
    #[must_use]
    pub fn with(self, change: impl FnOnce(&mut Options)) -> Self {
        let Inner { limiter, options, .. } = &*self.inner;
        let mut options = options.clone();
        change(&mut options);
        Self::new(limiter.clone(), options)
    }

    /// Builds the throttle on the first call, and returns it.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Throttle::new`], and the error that the builder was created with.
    pub fn throttle(&self) -> Result<Arc<Throttle>, ConfigError> {
        let Inner { limiter, options, built, .. } = &*self.inner;
        let build = || Throttle::new(limiter.clone()?, options.clone()).map(Arc::new);
        built.get_or_init(build).clone()
    }

    /// Returns the throttle, or logs once why it cannot be built. Returns `None` if the options disable it: pass
    /// requests straight to the inner service.
    ///
    /// # Errors
    ///
    /// Returns [`Misconfigured`], which answers every request with 500, if the throttle cannot be built. Use this in
    /// middleware that cannot return an error when it is created.
    pub fn throttle_or_log(&self) -> Result<Option<Arc<Throttle>>, Misconfigured> {
        if !self.inner.options.enabled {
            return Ok(None);
        }
        let throttle = self.throttle();
        if let Err(error) = &throttle {
            self.inner.failure_logged.call_once(|| {
                tracing::error!(
                    target: "ratethrottle::config",
                    %error, "the rate limit cannot be built; every request is answered with 500"
                );
            });
        }
        throttle
            .map(Some)
            .map_err(|_| Misconfigured { on_rejection: self.inner.options.on_rejection.clone() })
    }
}

/// A middleware that could not be built; it answers every request with 500.
#[derive(Clone)]
pub struct Misconfigured {
    on_rejection: Option<OnRejection>,
}

impl Misconfigured {
    /// Builds the response to a request. The reason is logged, but not included in the response.
    #[must_use]
    pub fn respond(&self, head: &RequestHead<'_>) -> Response<Bytes> {
        let rejected = Rejected::misconfigured("The server is not configured to limit requests.");
        rejected.respond(head, self.on_rejection.as_ref(), |_, _| {}).0
    }
}

impl fmt::Debug for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Misconfigured").finish_non_exhaustive()
    }
}

impl fmt::Debug for ThrottleBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleBuilder")
            .field("limiter", &self.inner.limiter)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
