//! The shared state of a limiter.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
};

use super::{
    applied::Applied,
    changes::Changes,
    error::Error,
    lists::{AllowList, DenyList},
    metrics::Counts,
    rules::Rules,
    subscription::Subscription,
    violations::Violations,
};
use crate::{
    pending_work::PendingWork,
    rule::{checked::CheckedRule, definition::Rule},
    storage::AtomicStorage,
    time::{Clock, Micros, SystemClock},
};

/// The state that the clones of a limiter share.
pub(super) struct Inner {
    pub(super) storage: Arc<dyn AtomicStorage>,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) rules: Rules,
    pub(super) changes: Changes,
    /// The names of concurrency limits, with their counts.
    pub(super) concurrency: Mutex<BTreeMap<String, Arc<Counts>>>,
    pub(super) applied: Applied,
    pub(super) allow_list: AllowList,
    pub(super) deny_list: DenyList,
    /// The subscription to the shared lists of the storage.
    pub(super) subscription: Subscription,
    /// The counts of requests of several rules, of rules that were removed, and of concurrency limits.
    pub(super) counts: Counts,
    pub(super) errors: AtomicU64,
    pub(super) violations: Violations,
    /// A value that the layers of the limiter share.
    pub(super) shared_by_layers: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// Refunds and reconciliations in the background.
    pub(super) pending: PendingWork,
}

impl Inner {
    pub(super) fn now(&self) -> Micros {
        self.clock.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.now())
    }

    /// Returns the checked form of a rule, if this limiter supports it and no concurrency limit has its name.
    pub(super) fn checked(&self, rule: &Rule) -> Result<CheckedRule, Error> {
        let rule =
            rule.check()?.with_log_limit(self.storage.max_log_limit(), self.storage.kind())?;
        self.check_name_is_free(rule.name())?;
        Ok(rule)
    }

    fn check_name_is_free(&self, name: &str) -> Result<(), Error> {
        match self.lock_concurrency().contains_key(name) {
            true => Err(Error::DuplicateRule(name.to_owned())),
            false => Ok(()),
        }
    }

    pub(super) fn lock_concurrency(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Counts>>> {
        self.concurrency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
