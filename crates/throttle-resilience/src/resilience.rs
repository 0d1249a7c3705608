//! A builder for all wrappers in the recommended order.

use std::{fmt, sync::Arc};

use serde::Serialize;
use throttle_core::{AtomicStorage, Storage, Wrapper};

use crate::{
    breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitStats},
    deadline::{Deadline, Deadlines},
    denial_cache::{DenialCache, DenialCacheStats},
    fallback::{FailureModes, Fallback, FallbackStats},
    instances::Instances,
    leases::{LeaseBudget, LeaseStats, Leases},
};

/// A builder that nests the wrappers in the recommended order.
///
/// From the storage outwards:
///
/// - [`Deadline`] ends every call in time.
/// - [`CircuitBreaker`] sees late calls as failures.
/// - [`Leases`], optional: the deadline and the breaker guard the calls that fetch batches.
/// - [`Fallback`] decides when any of these fails.
/// - [`DenialCache`], optional, calls none of them for a cached denial.
///
/// The deadline and the breaker are always present. Rules fail closed unless
/// [`Resilience::failure_modes`] sets something else.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_resilience::*; pub mod resilience { pub use super::*; } }
/// use ratethrottle::{Limiter, Resilience, Storage, resilience::{FailureMode, FailureModes}};
///
/// fn limiter(redis: impl Storage, memory: impl Storage) -> Limiter {
///     let modes = FailureModes::local(memory, 3).rule("login", FailureMode::FailClosed);
///     let storage = Resilience::new(redis).deadline(Duration::from_millis(50)).failure_modes(modes).build();
///     Limiter::new(storage)
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Resilience<S> {
    storage: S,
    deadlines: Deadlines,
    circuit: CircuitBreakerConfig,
    modes: FailureModes,
    denials: Option<usize>,
    leases: Vec<(String, LeaseBudget)>,
    leased_keys: Option<usize>,
    instances: Option<Instances>,
}

impl<S: Storage> Resilience<S> {
    /// Creates a builder for the storage to protect.
    pub fn new(storage: S) -> Self {
        let (deadlines, circuit, modes) = Default::default();
        let (denials, leases, leased_keys, instances) = Default::default();
        Self { storage, deadlines, circuit, modes, denials, leases, leased_keys, instances }
    }

    /// Sets how long calls may take; a plain duration is the deadline of decisions. Default:
    /// [`Deadlines::new`].
    pub fn deadline(mut self, deadlines: impl Into<Deadlines>) -> Self {
        self.deadlines = deadlines.into();
        self
    }

    /// Configures the circuit breaker. Default: [`CircuitBreakerConfig::new`].
    pub fn breaker(mut self, circuit: CircuitBreakerConfig) -> Self {
        self.circuit = circuit;
        self
    }

    /// Sets the behavior of rules while the storage fails. Default: [`FailureModes::fail_closed`].
    pub fn failure_modes(mut self, modes: FailureModes) -> Self {
        self.modes = modes;
        self
    }

    /// Adds a [`DenialCache`] for up to `max_keys` keys. Default: no denial cache.
    pub fn denial_cache(mut self, max_keys: usize) -> Self {
        self.denials = Some(max_keys);
        self
    }

    /// Leases permits of this rule for hot keys; see [`Leases`].
    ///
    /// Set the number of instances as well ([`Resilience::instances`]). May be called once per
    /// rule.
    ///
    /// ```
    /// # use throttle_core::Storage; use throttle_resilience::{LeaseBudget, Resilience, Resilient};
    /// fn wrapped(redis: impl Storage) -> Resilient {
    ///     Resilience::new(redis).instances(3).lease("api", LeaseBudget::percent(5)).build()
    /// }
    /// ```
    pub fn lease(mut self, rule: impl Into<String>, budget: LeaseBudget) -> Self {
        self.leases.push((rule.into(), budget));
        self
    }

    /// Sets how many keys are leased at a time. Default: 10,000.
    pub fn leased_keys(mut self, max_keys: usize) -> Self {
        self.leased_keys = Some(max_keys);
        self
    }

    /// Sets how many instances share the limits; leases need it. Default: the number passed to [`FailureModes::local`],
    /// or 1.
    pub fn instances(mut self, instances: impl Into<Instances>) -> Self {
        self.instances = Some(instances.into());
        self
    }

    /// Wraps the storage in the configured wrappers.
    #[must_use]
    pub fn build(self) -> Resilient {
        let from_modes = self.modes.local.as_ref().map(|local| local.instances.clone());
        let instances = self.instances.or(from_modes).unwrap_or(Instances::fixed(1));
        let deadline = Deadline::new(self.storage, self.deadlines);
        let breaker = CircuitBreaker::new(deadline, self.circuit);
        let leases = (!self.leases.is_empty()).then(|| {
            let rules = self.leases.into_iter();
            let leases = Leases::new(breaker.clone(), instances);
            let leases = rules.fold(leases, |leases, (name, budget)| leases.rule(name, budget));
            let leases = leases.max_keys(self.leased_keys.unwrap_or(10_000));
            leases.deadline(self.deadlines.acquire).build()
        });
        let fallback = match &leases {
            Some(leases) => Fallback::new(leases.clone(), self.modes),
            None => Fallback::new(breaker.clone(), self.modes),
        };
        let denials = self.denials.map(|keys| DenialCache::new(fallback.clone(), keys));
        let outermost = match &denials {
            Some(denials) => Arc::new(denials.clone()).atomic(),
            None => Arc::new(fallback.clone()).atomic(),
        };
        Resilient { outermost, breaker, leases, fallback, denials }
    }
}

/// A storage in its wrappers. Clones share their state.
#[derive(Clone)]
pub struct Resilient {
    outermost: Arc<dyn AtomicStorage>,
    breaker: CircuitBreaker,
    leases: Option<Leases>,
    fallback: Fallback,
    denials: Option<DenialCache>,
}

/// Statistics of all wrappers.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct ResilienceStats {
    /// Statistics of the circuit breaker.
    pub circuit: CircuitStats,
    /// Statistics of the leases, if any rule is leased.
    pub leases: Option<LeaseStats>,
    /// Statistics of the fallback.
    pub fallback: FallbackStats,
    /// Statistics of the denial cache, if there is one.
    pub denials: Option<DenialCacheStats>,
}

impl Resilient {
    /// Returns the statistics since the wrappers were created.
    #[must_use]
    pub fn stats(&self) -> ResilienceStats {
        ResilienceStats {
            circuit: self.breaker.stats(),
            leases: self.leases.as_ref().map(Leases::stats),
            fallback: self.fallback.stats(),
            denials: self.denials.as_ref().map(DenialCache::stats),
        }
    }

    /// Returns all leased permits to the storage and stops leasing.
    ///
    /// [`Limiter::shutdown`](throttle_core::Limiter::shutdown) does this, too.
    pub async fn close(&self) {
        if let Some(leases) = &self.leases {
            leases.close().await;
        }
    }

    /// Returns the fallback, for example to set the number of instances at run time.
    #[must_use]
    pub fn fallback(&self) -> &Fallback {
        &self.fallback
    }
}

impl Wrapper for Resilient {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.outermost
    }
}

impl fmt::Debug for Resilient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilient")
            .field("storage", &self.outermost.kind())
            .field("stats", &self.stats())
            .finish()
    }
}
