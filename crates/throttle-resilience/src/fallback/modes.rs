//! What users choose for when the storage fails.

use std::{collections::HashMap, fmt, sync::Arc};

use serde::Serialize;
use throttle_core::{AtomicStorage, Storage};

use crate::{instances::Instances, observer::Observers};

/// Says what a rule does while the storage fails.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureMode {
    /// Requests fail with the storage's error; over HTTP that is a 503.
    FailClosed,
    /// Requests pass, marked as degraded.
    FailOpen,
    /// Another storage decides, by this server's share of the limit; answers are marked as degraded.
    Local,
}

/// Says what each rule does while the storage fails, and who is told.
#[derive(Clone)]
#[must_use]
pub struct FailureModes {
    pub(super) otherwise: FailureMode,
    pub(super) rules: HashMap<String, FailureMode>,
    pub(crate) local: Option<Local>,
    pub(super) max_deferred: usize,
    pub(super) observers: Observers<FallbackChange>,
}

/// Where limits are kept while the storage fails, and by how many servers.
#[derive(Clone)]
pub(crate) struct Local {
    pub(super) storage: Arc<dyn AtomicStorage>,
    pub(crate) servers: Instances,
}

impl FailureModes {
    /// Refuses what the storage cannot decide.
    pub fn fail_closed() -> Self {
        Self::of(FailureMode::FailClosed, None)
    }

    /// Lets pass what the storage cannot decide.
    pub fn fail_open() -> Self {
        Self::of(FailureMode::FailOpen, None)
    }

    /// Decides by `storage`, such as one in memory, what the usual one cannot decide. `servers` is how
    /// many share the limits, a number or [learnt](Instances::discovered): each then keeps its share, rounded
    /// down, and at least 1. 0 counts as 1.
    pub fn local(storage: impl Storage, servers: impl Into<Instances>) -> Self {
        let (storage, servers) = (Arc::new(storage).atomic(), servers.into());
        Self::of(FailureMode::Local, Some(Local { storage, servers }))
    }

    fn of(otherwise: FailureMode, local: Option<Local>) -> Self {
        let observers = Observers::default();
        Self { otherwise, rules: HashMap::new(), local, max_deferred: 10_000, observers }
    }

    /// Gives a rule another mode. [`FailureMode::Local`] takes [`FailureModes::local`]; without it the rule is closed.
    pub fn rule(mut self, name: impl Into<String>, mode: FailureMode) -> Self {
        self.rules.insert(name.into(), mode);
        self
    }

    /// Gives all rules another mode that have none of their own, where only some are local.
    pub fn otherwise(mut self, mode: FailureMode) -> Self {
        self.otherwise = mode;
        self
    }

    /// Bounds for how many keys under rules it is remembered what was admitted locally, to charge it to
    /// the storage when that is back; default 10,000. What comes when it is full is not charged.
    pub fn max_deferred(mut self, max_deferred: usize) -> Self {
        self.max_deferred = max_deferred;
        self
    }

    /// Calls `callback` when the storage begins to fail, and when it is back. May be said several times.
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
            .field("servers", &self.local.as_ref().map(|local| &local.servers))
            .finish_non_exhaustive()
    }
}

/// Tells that the storage began to fail, or is back.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FallbackChange {
    /// A call failed; from now on the modes apply to what the storage cannot decide.
    Degraded {
        /// What the call failed with.
        error: String,
    },
    /// No call failed for a second, and what was admitted locally is charged.
    Restored,
}

/// Counts what was answered without the storage since the wrapper was made.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct FallbackStats {
    /// Whether calls failed within the last second, or charges are due.
    pub degraded: bool,
    /// How many servers share the limits, as it was given or learnt.
    pub servers: u64,
    /// How often the storage began to fail.
    pub outages: u64,
    /// Requests that failed, because one of their rules is closed.
    pub closed: u64,
    /// Requests that passed, because all of their rules are open.
    pub open: u64,
    /// Requests that were decided locally.
    pub local: u64,
    /// Calls that failed because of what is stored under their key.
    pub of_key: u64,
    /// Keys under rules for which charges are due.
    pub debts: u64,
    /// What was charged to the storage when it was back.
    pub repaid: u64,
    /// What was not, because it no longer counts, the limit is used up, or there was no room.
    pub forgiven: u64,
}
