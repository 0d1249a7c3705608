//! What a middleware is made of, before the first request.

use std::{
    fmt,
    sync::{Arc, Once, OnceLock},
};

use throttle_core::{Limiter, Rule};

use crate::{ConfigError, Options, Throttle};

/// Says what a middleware is made of: a [`Limiter`], or where the adapter has a storage of its own a
/// single [`Rule`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// Its rules and counts are shared by all who have a clone of it.
    Limiter(Limiter),
    /// Its counts are the middleware's own.
    Rule(Rule),
}

impl Source {
    /// Makes a limiter, of a rule by the function that the adapter has if it was built with a storage.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a rule that cannot be taken, or that no storage is there for.
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

impl From<Limiter> for Source {
    fn from(limiter: Limiter) -> Self {
        Self::Limiter(limiter)
    }
}

impl From<&Limiter> for Source {
    fn from(limiter: &Limiter) -> Self {
        Self::Limiter(limiter.clone())
    }
}

impl From<Arc<Limiter>> for Source {
    fn from(limiter: Arc<Limiter>) -> Self {
        Self::from(&*limiter)
    }
}

impl From<&Arc<Limiter>> for Source {
    fn from(limiter: &Arc<Limiter>) -> Self {
        Self::from(&**limiter)
    }
}

#[cfg(feature = "rule-sources")]
impl From<Rule> for Source {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

/// Holds a limiter and options, of which a [`Throttle`] is made once for all clones.
#[derive(Clone)]
pub struct Setup {
    inner: Arc<Inner>,
}

struct Inner {
    limiter: Result<Limiter, Arc<ConfigError>>,
    options: Options,
    built: OnceLock<Result<Arc<Throttle>, Arc<ConfigError>>>,
    /// Routers may lay a middleware around a route for every request.
    failure_logged: Once,
}

impl Setup {
    /// Collects what a middleware is made of; that there is no limiter is told when it is built.
    #[must_use]
    pub fn new(limiter: Result<Limiter, Arc<ConfigError>>, options: Options) -> Self {
        let (built, failure_logged) = (OnceLock::new(), Once::new());
        Self { inner: Arc::new(Inner { limiter, options, built, failure_logged }) }
    }

    /// Changes the options of this one, and of no clone.
    #[must_use]
    pub fn with(self, change: impl FnOnce(Options) -> Options) -> Self {
        let Inner { limiter, options, .. } = &*self.inner;
        Self::new(limiter.clone(), change(options.clone()))
    }

    /// Returns the throttle.
    ///
    /// # Errors
    ///
    /// Those of [`Throttle::new`], and what the limiter could not be made for.
    pub fn throttle(&self) -> Result<Arc<Throttle>, Arc<ConfigError>> {
        let Inner { limiter, options, built, .. } = &*self.inner;
        let build = || {
            let throttle = Throttle::new(limiter.clone()?, options.clone());
            throttle.map(Arc::new).map_err(Arc::new)
        };
        built.get_or_init(build).clone()
    }

    /// Returns the throttle, or logs once why there is none: then [`Throttle::misconfigured`] answers.
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

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("limiter", &self.inner.limiter)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
