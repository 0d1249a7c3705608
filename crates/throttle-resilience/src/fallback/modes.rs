//! The configuration and the statistics of a fallback.

use std::{collections::HashMap, fmt, sync::Arc};

use serde::Serialize;
use throttle_core::{AtomicStorage, Storage};

use crate::{instances::Instances, observer::Observers};

/// The behavior of a rule while the storage fails.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureMode {
    /// Requests fail with the storage's error; over HTTP that is a 503 response.
    FailClosed,
    /// Requests are allowed and marked as degraded. No limit is enforced.
    FailOpen,
    /// A local storage decides by this instance's share of the limit. Decisions are marked as
    /// degraded.
    Local,
}

/// The failure modes of all rules.
#[derive(Clone)]
#[must_use]
pub struct FailureModes {
    pub(super) otherwise: FailureMode,
    pub(super) rules: HashMap<String, FailureMode>,
    pub(crate) local: Option<Local>,
    pub(super) max_deferred: usize,
    pub(super) observers: Observers<FallbackChange>,
}

/// The local storage, and the number of instances that share the limits.
#[derive(Clone)]
pub(crate) struct Local {
    pub(super) storage: Arc<dyn AtomicStorage>,
    pub(crate) instances: Instances,
}

impl FailureModes {
    /// Returns the storage's errors: rules fail closed.
    pub fn fail_closed() -> Self {
        Self::of(FailureMode::FailClosed, None)
    }

    /// Allows requests that the storage cannot decide: rules fail open.
    pub fn fail_open() -> Self {
        Self::of(FailureMode::FailOpen, None)
    }

    /// Decides requests locally if the shared storage cannot decide them. The local decisions are
    /// made by `storage`, such as an in-memory storage.
    ///
    /// `instances` is the number of instances that share the limits, fixed or
    /// [discovered](Instances::discovered). Each enforces its share of a limit, rounded down but at
    /// least 1.
    pub fn local(storage: impl Storage, instances: impl Into<Instances>) -> Self {
        let (storage, instances) = (Arc::new(storage).atomic(), instances.into());
        Self::of(FailureMode::Local, Some(Local { storage, instances }))
    }

    fn of(otherwise: FailureMode, local: Option<Local>) -> Self {
        let observers = Observers::default();
        Self { otherwise, rules: HashMap::new(), local, max_deferred: 10_000, observers }
    }

    /// Sets the mode of one rule. [`FailureMode::Local`] needs [`FailureModes::local`]; otherwise
    /// the rule fails closed.
    pub fn rule(mut self, name: impl Into<String>, mode: FailureMode) -> Self {
        self.rules.insert(name.into(), mode);
        self
    }

    /// Sets the mode of all rules without their own mode, if only some rules decide locally.
    pub fn otherwise(mut self, mode: FailureMode) -> Self {
        self.otherwise = mode;
        self
    }

    /// Sets the maximum number of deferred charges, one per key and rule. Default: 10,000.
    ///
    /// When it is reached, charges of further keys are dropped.
    pub fn max_deferred(mut self, max_deferred: usize) -> Self {
        self.max_deferred = max_deferred;
        self
    }

    /// Adds a callback for when the storage begins to fail and when it has recovered. May be called
    /// more than once.
    pub fn on_change(mut self, callback: impl Fn(&FallbackChange) + Send + Sync + 'static) -> Self {
        self.observers.add(callback);
        self
    }

    /// Returns the mode of a rule.
    pub(super) fn mode(&self, rule: &str) -> FailureMode {
        let own = if self.rules.is_empty() { None } else { self.rules.get(rule).copied() };
        match own.unwrap_or(self.otherwise) {
            FailureMode::Local if self.local.is_none() => FailureMode::FailClosed,
            mode => mode,
        }
    }
}

impl Default for FailureModes {
    fn default() -> Self {
        Self::fail_closed()
    }
}

impl fmt::Debug for FailureModes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureModes")
            .field("otherwise", &self.otherwise)
            .field("rules", &self.rules)
            .field("local", &self.local.as_ref().map(|local| local.storage.kind()))
            .field("instances", &self.local.as_ref().map(|local| &local.instances))
            .finish_non_exhaustive()
    }
}

/// A change between normal and degraded operation.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FallbackChange {
    /// A call failed. From now on, the failure modes apply to requests that the storage cannot
    /// decide.
    Degraded {
        /// The error of the call.
        error: String,
    },
    /// No call has failed for a second, and no deferred charges are left.
    Restored,
}

/// Statistics of a fallback since it was created.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct FallbackStats {
    /// Whether calls failed within the last second, or deferred charges are left.
    pub degraded: bool,
    /// The number of instances that share the limits, fixed or discovered.
    pub instances: u64,
    /// The number of times that the storage began to fail.
    pub outages: u64,
    /// Requests that failed because one of their rules fails closed.
    pub closed: u64,
    /// Requests that were allowed because all of their rules fail open.
    pub open: u64,
    /// Requests that were decided locally.
    pub local: u64,
    /// Calls that failed because of the value stored under their key.
    pub key_errors: u64,
    /// Deferred charges that are left, one per key and rule.
    pub deferred: u64,
    /// The cost that was replayed to the storage.
    pub replayed: u64,
    /// The deferred cost that was dropped: it no longer counted, the limit was used up, or
    /// `max_deferred` was reached.
    pub dropped: u64,
}
