//! What is behind the handle.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use super::{
    changes::Changes,
    error::Error,
    lists::{AllowList, DenyList},
    metrics::Counts,
    rules::Rules,
    subscription::Subscription,
    violations::Violations,
};
use crate::{
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
    /// The names of limits of requests under way.
    pub(super) places: Mutex<BTreeSet<String>>,
    pub(super) allow_list: AllowList,
    pub(super) deny_list: DenyList,
    /// How the storage's lists are read.
    pub(super) subscription: Subscription,
    /// Requests of several rules, and those that rules decided alone which are gone.
    pub(super) counts: Counts,
    pub(super) errors: AtomicU64,
    pub(super) violations: Violations,
}

impl Inner {
    pub(super) fn now(&self) -> Micros {
        self.clock.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.now())
    }

    /// Fails where a limit of requests under way has the name.
    /// Returns the checked form of a rule that this limiter can take.
    pub(super) fn checked(&self, rule: &Rule) -> Result<CheckedRule, Error> {
        let rule =
            rule.check()?.with_log_limit(self.storage.max_log_limit(), self.storage.kind())?;
        self.not_of_places(rule.name())?;
        Ok(rule)
    }

    fn not_of_places(&self, name: &str) -> Result<(), Error> {
        match self.place_names().contains(name) {
            true => Err(Error::DuplicateRule(name.to_owned())),
            false => Ok(()),
        }
    }

    pub(super) fn place_names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
