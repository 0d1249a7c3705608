//! The builder of a limiter.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use super::{
    changes::Changes,
    handle::Limiter,
    inner::Inner,
    lists::{AllowList, DenyList},
    metrics::Counts,
    rules::Rules,
    violations::Violations,
};
use crate::{
    storage::{AtomicStorage, Storage},
    time::Clock,
};

/// A builder for a [`Limiter`] with options.
///
/// ```
/// # use throttle_core as ratethrottle;
/// use ratethrottle::{Limiter, ManualClock};
/// # fn example(storage: impl throttle_core::Storage) {
/// let clock = ManualClock::default();
/// let limiter = Limiter::builder(storage).clock(clock.clone()).recent_violations(20).build();
/// # }
/// ```
#[must_use]
pub struct LimiterBuilder {
    storage: Arc<dyn AtomicStorage>,
    clock: Option<Arc<dyn Clock>>,
    recent_violations: usize,
    show_keys: bool,
}

impl Limiter {
    /// Creates a limiter without rules that uses a storage.
    pub fn new(storage: impl Storage) -> Self {
        Self::builder(storage).build()
    }

    /// Returns a builder for a limiter with options.
    pub fn builder(storage: impl Storage) -> LimiterBuilder {
        LimiterBuilder::new(Arc::new(storage).atomic())
    }
}

impl LimiterBuilder {
    fn new(storage: Arc<dyn AtomicStorage>) -> Self {
        Self { storage, clock: None, recent_violations: 100, show_keys: false }
    }

    /// Sets a clock, for tests; by default the clock of the storage is used.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Sets how many recent violations the metrics include; default 100, 0 disables them.
    pub fn recent_violations(mut self, count: usize) -> Self {
        self.recent_violations = count;
        self
    }

    /// Shows the keys of violations in the metrics, in `Debug` and in serialized form; by default they are
    /// [digests](super::Violation), because keys may be secrets such as API keys.
    pub fn show_keys(mut self) -> Self {
        self.show_keys = true;
        self
    }

    /// Creates the limiter.
    #[must_use]
    pub fn build(self) -> Limiter {
        let inner = Inner {
            storage: self.storage,
            rules: Rules::default(),
            changes: Changes::default(),
            concurrency: Mutex::default(),
            applied: Default::default(),
            allow_list: AllowList::new(self.clock.clone()),
            deny_list: DenyList::new(self.clock.clone()),
            clock: self.clock,
            subscription: Default::default(),
            shared_by_layers: Default::default(),
            counts: Counts::default(),
            errors: Default::default(),
            violations: Violations::new(self.recent_violations, self.show_keys),
            pending: Default::default(),
        };
        Limiter { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for LimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterBuilder")
            .field("storage", &self.storage.kind())
            .finish_non_exhaustive()
    }
}
