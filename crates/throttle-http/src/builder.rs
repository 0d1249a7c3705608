//! A middleware before its first request: its limiter and options.

use std::{
    fmt,
    sync::{Arc, Once, OnceLock},
};

use throttle_core::{Limiter, Rule};

use crate::{config_error::ConfigError, options::Options, throttle::Throttle};

/// What a middleware is made of: a [`Limiter`], or a single [`Rule`] where the adapter has a storage of its
/// own.
#[derive(Debug)]
#[non_exhaustive]
pub enum LimitSource {
    /// A limiter; clones of it share its rules and counts.
    Limiter(Limiter),
    /// A rule, whose counts are the middleware's own.
    Rule(Rule),
}

impl LimitSource {
    /// Returns the limiter; of a rule one by `make`, which an adapter has if it is built with a storage.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a rule that is not valid, or that there is no storage for.
    pub fn into_limiter(self, make: Option<fn() -> Limiter>) -> Result<Limiter, ConfigError> {
        match self {
            Self::Limiter(limiter) => Ok(limiter),
            Self::Rule(rule) => {
                let limiter = make.ok_or(ConfigError::NoStorage)?();
                limiter.add_rule(rule).map_err(ConfigError::Rules)?;
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

/// A limiter and options, of which a [`Throttle`] is built once for all clones.
#[derive(Clone)]
pub struct ThrottleBuilder {
    inner: Arc<Inner>,
}

struct Inner {
    limiter: Result<Limiter, Arc<ConfigError>>,
    options: Options,
    built: OnceLock<Result<Arc<Throttle>, Arc<ConfigError>>>,
    /// Routers may wrap a route in a middleware for every request.
    failure_logged: Once,
}

impl ThrottleBuilder {
    /// Creates a builder; an error of the limiter is returned when it is built.
    #[must_use]
    pub fn new(limiter: Result<Limiter, Arc<ConfigError>>, options: Options) -> Self {
        let (built, failure_logged) = (OnceLock::new(), Once::new());
        Self { inner: Arc::new(Inner { limiter, options, built, failure_logged }) }
    }

    /// Changes the options of this one, and of no clone.
    #[must_use]
    pub fn with(self, change: impl FnOnce(&mut Options)) -> Self {
        let Inner { limiter, options, .. } = &*self.inner;
        let mut options = options.clone();
        change(&mut options);
        Self::new(limiter.clone(), options)
    }

    /// Returns the throttle.
    ///
    /// # Errors
    ///
    /// Those of [`Throttle::new`], and the error that the builder was created with.
    pub fn throttle(&self) -> Result<Arc<Throttle>, Arc<ConfigError>> {
        let Inner { limiter, options, built, .. } = &*self.inner;
        let build = || {
            let throttle = Throttle::new(limiter.clone()?, options.clone());
            throttle.map(Arc::new).map_err(Arc::new)
        };
        built.get_or_init(build).clone()
    }

    /// Returns the throttle, or logs once why there is none; requests are then answered by
    /// [`Rejection::misconfigured`](crate::Rejection::misconfigured).
    #[must_use]
    pub fn throttle_or_log(&self) -> Option<Arc<Throttle>> {
        let throttle = self.throttle();
        if let Err(error) = &throttle {
            self.inner.failure_logged.call_once(|| {
                tracing::error!(%error, "the rate limit cannot be built; every request is answered with 500");
            });
        }
        throttle.ok()
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
