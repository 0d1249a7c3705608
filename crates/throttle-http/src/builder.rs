//! A limiter and its options, before they are built.

use std::{
    fmt,
    sync::{Arc, Once, OnceLock},
};

use throttle_core::{Limiter, Rule};

use crate::{config_error::ConfigError, options::Options, throttle::Throttle};

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

/// A limiter and options, from which one [`Throttle`] is built for all clones.
#[derive(Clone)]
pub struct ThrottleBuilder {
    inner: Arc<Inner>,
}

struct Inner {
    limiter: Result<Limiter, Arc<ConfigError>>,
    options: Options,
    built: OnceLock<Result<Arc<Throttle>, Arc<ConfigError>>>,
    /// Once, because some routers wrap a route in the middleware for every request.
    failure_logged: Once,
}

impl ThrottleBuilder {
    /// Creates a builder. If the limiter is an error, building returns it.
    #[must_use]
    pub fn new(limiter: Result<Limiter, Arc<ConfigError>>, options: Options) -> Self {
        let (built, failure_logged) = (OnceLock::new(), Once::new());
        Self { inner: Arc::new(Inner { limiter, options, built, failure_logged }) }
    }

    /// Returns a builder with changed options. Clones made earlier keep theirs.
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
    pub fn throttle(&self) -> Result<Arc<Throttle>, Arc<ConfigError>> {
        let Inner { limiter, options, built, .. } = &*self.inner;
        let build = || {
            let throttle = Throttle::new(limiter.clone()?, options.clone());
            throttle.map(Arc::new).map_err(Arc::new)
        };
        built.get_or_init(build).clone()
    }

    /// Returns the throttle, or `None` if it cannot be built. The error is logged once. Answer requests with
    /// [`Rejection::misconfigured`](crate::Rejection::misconfigured) then.
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
