//! All wrappers in their order, in one line.

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

/// Composes the wrappers in the order in which they belong.
///
/// From the storage outwards: [`Deadline`], so that every call ends; [`CircuitBreaker`], which sees what
/// was late; [`Leases`], if wanted, whose batches both of them guard; [`Fallback`], which answers for all
/// of them; [`DenialCache`], if wanted, which asks none of them. Deadline and breaker are there without being asked for; rules are closed.
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
    servers: Option<Instances>,
}

impl<S: Storage> Resilience<S> {
    /// Begins with the storage to protect.
    pub fn new(storage: S) -> Self {
        let (deadlines, circuit, modes) = Default::default();
        let (denials, leases, leased_keys, servers) = Default::default();
        Self { storage, deadlines, circuit, modes, denials, leases, leased_keys, servers }
    }

    /// Bounds how long calls take; a duration bounds decisions. Default [`Deadlines::new`].
    pub fn deadline(mut self, deadlines: impl Into<Deadlines>) -> Self {
        self.deadlines = deadlines.into();
        self
    }

    /// Says when the storage is left alone; default [`CircuitBreakerConfig::new`].
    pub fn breaker(mut self, circuit: CircuitBreakerConfig) -> Self {
        self.circuit = circuit;
        self
    }

    /// Says what the rules do while the storage fails; default [`FailureModes::fail_closed`].
    pub fn failure_modes(mut self, modes: FailureModes) -> Self {
        self.modes = modes;
        self
    }

    /// Keeps denials of up to so many keys at hand; default: none.
    pub fn denial_cache(mut self, max_keys: usize) -> Self {
        self.denials = Some(max_keys);
        self
    }

    /// Takes permits of this rule in batches, for keys that are asked for often: see [`Leases`], and say
    /// how many servers there are ([`Resilience::instances`]). May be said for several rules.
    ///
    /// ```
    /// # use throttle_core::Storage; use throttle_resilience::{LeaseBudget, Resilience, Resilient};
    /// fn wrapped(redis: impl Storage) -> Resilient {
    ///     Resilience::new(redis).instances(3).lease("api", LeaseBudget::percent(5)).build()
    /// }
    /// ```
    pub fn lease(mut self, rule: impl Into<String>, accuracy: LeaseBudget) -> Self {
        self.leases.push((rule.into(), accuracy));
        self
    }

    /// Leases up to so many keys at once; default 10,000.
    pub fn leased_keys(mut self, max_keys: usize) -> Self {
        self.leased_keys = Some(max_keys);
        self
    }

    /// Says how many servers share the limits, for leases; default: what [`FailureModes::local`] was given,
    /// or 1.
    pub fn instances(mut self, servers: impl Into<Instances>) -> Self {
        self.servers = Some(servers.into());
        self
    }

    /// Wraps the storage.
    #[must_use]
    pub fn build(self) -> Resilient {
        let of_modes = self.modes.local.as_ref().map(|local| local.servers.clone());
        let servers = self.servers.or(of_modes).unwrap_or(Instances::fixed(1));
        let deadline = Deadline::new(self.storage, self.deadlines);
        let breaker = CircuitBreaker::new(deadline, self.circuit);
        let leases = (!self.leases.is_empty()).then(|| {
            let rules = self.leases.into_iter();
            let leases = Leases::new(breaker.clone(), servers);
            let leases = rules.fold(leases, |leases, (name, accuracy)| leases.rule(name, accuracy));
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

/// A storage with its wrappers; clones share them.
#[derive(Clone)]
pub struct Resilient {
    outermost: Arc<dyn AtomicStorage>,
    breaker: CircuitBreaker,
    leases: Option<Leases>,
    fallback: Fallback,
    denials: Option<DenialCache>,
}

/// Counts what the wrappers saw and did.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct ResilienceStats {
    /// The circuit breaker's.
    pub circuit: CircuitStats,
    /// What was taken in batches, if rules are leased.
    pub leases: Option<LeaseStats>,
    /// What was answered without the storage.
    pub fallback: FallbackStats,
    /// What was refused without asking, if denials are kept at hand.
    pub denials: Option<DenialCacheStats>,
}

impl Resilient {
    /// Returns what the wrappers saw and did so far.
    #[must_use]
    pub fn stats(&self) -> ResilienceStats {
        ResilienceStats {
            circuit: self.breaker.stats(),
            leases: self.leases.as_ref().map(Leases::stats),
            fallback: self.fallback.stats(),
            denials: self.denials.as_ref().map(DenialCache::stats),
        }
    }

    /// Gives back what is held in leases, and leases nothing from now on; for before the process ends.
    pub async fn close(&self) {
        if let Some(leases) = &self.leases {
            leases.close().await;
        }
    }

    /// Returns the wrapper that answers without the storage.
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
