//! The handle that users hold.

use std::{fmt, sync::Arc, sync::atomic::Ordering::Relaxed};

use super::{
    ask_kind::AskKind,
    error::Error,
    inner::Inner,
    lists::{AllowList, DenyList},
    metrics::{Metrics, RuleMetrics},
    rules,
    status::Status,
    violations::Violation,
};
use crate::{
    decision::{Decision, Decisions},
    key::Key,
    rule::{checked::CheckedRule, definition::Rule},
    storage::{AtomicStorage, Charge, ChargeRequest, Refund},
    time::Micros,
};

/// Decides whether requests pass: rules, lists, and a storage that keeps the counts.
///
/// It is a cheap handle: clones share everything. Rules can be added, replaced and removed while it
/// serves.
///
/// # Examples
///
/// ```
/// # use throttle_core as ratethrottle;
/// use ratethrottle::{Limiter, Rule};
/// # async fn example(storage: impl throttle_core::Storage) -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::new(storage);
/// limiter.add_rule(Rule::per_minute("api", 100))?;
///
/// let decision = limiter.check("user:42", "api").await?;
/// if !decision.is_allowed() {
///     println!("come back in {:?}", decision.retry_after());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Limiter {
    pub(super) inner: Arc<Inner>,
}

impl Limiter {
    /// Adds a rule; the same rule again changes nothing, also where it was replaced since: what is set up
    /// anew while it serves does not undo [`replace_rule`](Self::replace_rule).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRule`] for a rule that cannot be taken, also by this storage
    /// ([`AtomicStorage::max_log_limit`]); [`Error::DuplicateRule`] when another
    /// rule, or a limit of [`concurrency`](Self::concurrency), has its name.
    pub fn add_rule(&self, rule: Rule) -> Result<(), Error> {
        let rule = self.inner.checked(&rule)?;
        self.inner.rules.add(rule)
    }

    /// Puts a rule in the place of the one with its name, and returns whether there was one.
    ///
    /// Keys keep what was counted where it still means something: a new limit, burst, cost or block
    /// changes no count; a new window keeps counts and buckets, and a key is then free again after at
    /// most a new window (two by the sliding window counter); a new algorithm starts anew,
    /// and counts by itself where another server still goes by the old one. What is shut stays shut until its time.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRule`] for a rule that cannot be taken, and [`Error::DuplicateRule`] when a limit of
    /// [`concurrency`](Self::concurrency) has its name; the old one stays.
    pub fn replace_rule(&self, rule: Rule) -> Result<bool, Error> {
        let rule = self.inner.checked(&rule)?;
        let name = rule.name().to_owned();
        let replaced = self.inner.rules.replace(rule);
        self.inner.changes.rule_changed(&name);
        Ok(replaced)
    }

    /// Removes a rule, and returns whether it was there. What was counted expires by itself.
    pub fn remove_rule(&self, name: &str) -> bool {
        let Some(removed) = self.inner.rules.remove(name) else { return false };
        self.inner.changes.rule_changed(name);
        self.inner.counts.absorb(&removed.counts);
        true
    }

    /// Returns a rule as it is now.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<Arc<CheckedRule>> {
        rules::find(&self.inner.rules.load(), name).ok().map(|active| Arc::clone(&active.rule))
    }

    /// Returns the rules as they are now, in the order of their names.
    #[must_use]
    pub fn rules(&self) -> Vec<Arc<CheckedRule>> {
        self.inner.rules.load().iter().map(|active| Arc::clone(&active.rule)).collect()
    }

    /// Charges `key` what one request costs by a rule, if it admits that.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRule`], or [`Error::Storage`] when the storage could not decide.
    pub async fn check<'k>(&self, key: impl Into<Key<'k>>, rule: &str) -> Result<Decision, Error> {
        self.begin(&key.into(), Some(&[rule]), None, AskKind::Acquire)
            .await
            .map(Decisions::into_most_restrictive)
    }

    /// Charges `key` a cost of at least 1 by a rule, if it admits that.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroCost`], and as for [`Limiter::check`].
    pub async fn check_cost<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rule: &str,
        cost: u64,
    ) -> Result<Decision, Error> {
        self.begin(&key.into(), Some(&[rule]), Some(cost), AskKind::Acquire)
            .await
            .map(Decisions::into_most_restrictive)
    }

    /// Charges `key` by several rules: all of them, or none if one denies.
    ///
    /// # Errors
    ///
    /// [`Error::NoRules`] when none is named, [`Error::RepeatedRule`] when one is named twice, and as
    /// for [`Limiter::check`].
    pub async fn check_all<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rules: &[&str],
    ) -> Result<Decisions, Error> {
        self.begin(&key.into(), Some(rules), None, AskKind::Acquire).await
    }

    /// Answers as [`Limiter::check`] would, but charges nothing.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check`].
    pub async fn peek<'k>(&self, key: impl Into<Key<'k>>, rule: &str) -> Result<Decision, Error> {
        self.begin(&key.into(), Some(&[rule]), None, AskKind::Peek)
            .await
            .map(Decisions::into_most_restrictive)
    }

    /// Forgets what a rule counted for `key`, and opens it if it is shut.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check`].
    pub async fn reset<'k>(&self, key: impl Into<Key<'k>>, rule: &str) -> Result<(), Error> {
        let key = key.into();
        let last = self.inner.changes.last_registered();
        let reply = {
            let rules = self.inner.rules.load();
            let charge = Charge::new(&key, &rules::find(&rules, rule)?.rule, 1);
            self.inner.storage.reset(&ChargeRequest::new(&[charge], self.inner.clock.as_ref()))
        };
        reply.await?;
        self.inner.changes.reset(&key, rule, last);
        Ok(())
    }

    /// Gives back `cost` of the latest charges of `key`: of the current window, or of what a bucket
    /// has not refilled yet. It never makes more of a rule than its limit.
    ///
    /// To undo one check, use [`Limiter::rollback`], which knows what was charged.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check`].
    pub async fn refund<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rule: &str,
        cost: u64,
    ) -> Result<(), Error> {
        if cost == 0 {
            return Ok(());
        }
        let reply = {
            let key = key.into();
            let rules = self.inner.rules.load();
            let charge = Charge::new(&key, &rules::find(&rules, rule)?.rule, cost);
            self.inner.storage.refund(&[Refund::new(charge, None)], self.inner.clock.as_ref())
        };
        Ok(reply.await?)
    }

    /// Returns the keys that always pass.
    #[must_use]
    pub fn allow_list(&self) -> &AllowList {
        &self.inner.allow_list
    }

    /// Returns the keys that never pass.
    #[must_use]
    pub fn deny_list(&self) -> &DenyList {
        &self.inner.deny_list
    }

    /// Calls `callback` for each denial by a rule, on the path of the request: keep it short. What the deny
    /// list denies it is not told of, so that a callback that bans does not ban anew who is banned.
    ///
    /// A callback may ask the limiter; what is denied to it in its own thread is counted, and told to nobody.
    /// One that panics is logged, and harms neither the request nor the limiter.
    pub fn on_violation(&self, callback: impl Fn(&Violation) + Send + Sync + 'static) {
        self.inner.violations.add_callback(Arc::new(callback));
    }

    /// Returns what was counted since the limiter was made.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let rules = self.inner.rules.load();
        let by_rule =
            rules.iter().map(|active| (active.rule.name().to_owned(), active.counts.all()));
        let alone = rules.iter().map(|active| active.counts.alone());
        let all = alone.fold(self.inner.counts.alone(), RuleMetrics::plus);
        Metrics {
            total: all.total,
            allowed: all.allowed,
            denied: all.denied,
            violations: self.inner.violations.count(),
            errors: self.inner.errors.load(Relaxed),
            shared_lists: self.inner.subscription.metrics(),
            recent_violations: self.inner.violations.recent(),
            rules: by_rule.collect(),
        }
    }

    /// Returns what the limiter is made of.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        Status {
            rules: inner.rules.load().iter().map(|active| (&*active.rule).into()).collect(),
            storage: inner.storage.kind().to_owned(),
            scope: inner.storage.scope(),
            allow_list: inner.allow_list.len(),
            deny_list: inner.deny_list.len(),
            own_clock: inner.clock.is_some(),
        }
    }

    /// Returns the time by the limiter's own clock, or the machine's.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.inner.now()
    }

    /// Returns the storage, for operations of one's own and for wrapping it.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner.storage
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.inner.rules.load();
        let names: Vec<_> = rules.iter().map(|active| active.rule.name()).collect();
        f.debug_struct("Limiter")
            .field("storage", &self.inner.storage.kind())
            .field("rules", &names)
            .finish_non_exhaustive()
    }
}
