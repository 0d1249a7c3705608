//! The handle of a limiter, which users hold.

use std::{fmt, sync::Arc, sync::atomic::Ordering::Relaxed};

use super::{
    ask_kind::AskKind,
    error::Error,
    inner::Inner,
    lists::{AllowList, DenyList},
    metrics::{Metrics, RuleMetrics},
    rules,
    status::{RuleStatus, Status},
    violations::Violation,
};
use crate::{
    decision::{Decision, Decisions},
    key::Key,
    rule::{checked::CheckedRule, definition::Rule},
    storage::{AtomicStorage, Charge, ChargeRequest, Refund},
    time::Micros,
};

/// A rate limiter: rules, an allow list and a deny list, and a storage that keeps the counts.
///
/// It is a cheap handle: clones share everything. Rules can be added, replaced and removed at any time.
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
///     println!("retry in {:?}", decision.retry_after());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Limiter {
    pub(super) inner: Arc<Inner>,
}

impl Limiter {
    /// Adds a rule, which also applies to requests of layers that name no rule.
    ///
    /// Adding the same rule again has no effect, even if it was replaced in the meantime: a setup that runs again does
    /// not undo [`replace_rule`](Self::replace_rule).
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidRule`] for a rule with a value out of range, even if only this storage does not support
    /// it ([`AtomicStorage::max_log_limit`]). [`Error::DuplicateRule`] if another rule, or a limit of
    /// [`concurrency`](Self::concurrency), has the same name.
    pub fn add_rule(&self, rule: Rule) -> Result<(), Error> {
        let rule = self.inner.checked(&rule)?;
        self.inner.rules.add(rule, true)
    }

    /// Adds a rule that applies only to requests that name it. The option `limit` of a layer calls it.
    ///
    /// [`begin`](Self::begin) without names ignores the rule. The other methods treat it like any rule: it can be
    /// checked by its name, listed, replaced and removed. If [`add_rule`](Self::add_rule) adds the same rule, before or
    /// after, it applies to all requests.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`add_rule`](Self::add_rule).
    pub fn add_named_rule(&self, rule: Rule) -> Result<(), Error> {
        let rule = self.inner.checked(&rule)?;
        self.inner.rules.add(rule, false)
    }

    /// Replaces the rule with the same name, or adds it, and returns whether a rule was replaced. A rule of
    /// [`add_named_rule`](Self::add_named_rule) still applies only to requests that name it.
    ///
    /// Keys keep their counts if possible:
    ///
    /// - A new limit, burst, cost or block does not change counts.
    /// - A new window keeps counts and buckets. A key is free again after at most one new window, or two with the
    ///   sliding window counter.
    /// - A new algorithm starts without counts. If another server still uses the old algorithm, the two count
    ///   separately.
    /// - A blocked key stays blocked until its block ends.
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidRule`] for a rule with a value out of range, and [`Error::DuplicateRule`] if a limit of
    /// [`concurrency`](Self::concurrency) has the same name. In both cases the old rule stays.
    pub fn replace_rule(&self, rule: Rule) -> Result<bool, Error> {
        let rule = self.inner.checked(&rule)?;
        let name = rule.name().to_owned();
        let replaced = self.inner.rules.replace(rule);
        self.inner.changes.rule_changed(&name);
        Ok(replaced)
    }

    /// Replaces all rules in one step, for example when a configuration is loaded again: a request is checked either
    /// against old rules or against new ones.
    ///
    /// A rule whose name stays keeps its counts, as with [`replace_rule`](Self::replace_rule). Rules that layers added
    /// by their option `limit` belong to the layers, and stay.
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidRule`] for a rule with a value out of range, and [`Error::DuplicateRule`] if two rules
    /// have the same name, or if a limit of [`concurrency`](Self::concurrency) or another rule of a layer has it. The
    /// old rules stay then.
    ///
    /// # Examples
    ///
    /// ```
    /// # use throttle_core as ratethrottle;
    /// use ratethrottle::{Limiter, Rule};
    /// # fn example(limiter: Limiter) -> Result<(), Box<dyn std::error::Error>> {
    /// limiter.set_rules([Rule::per_minute("api", 100), Rule::per_minute("login", 5)])?;
    /// limiter.set_rules([Rule::per_minute("api", 200)])?; // a new limit for `api`, and no rule `login`
    /// # Ok(()) }
    /// ```
    pub fn set_rules(&self, rules: impl IntoIterator<Item = Rule>) -> Result<(), Error> {
        let checked = rules.into_iter().map(|rule| self.inner.checked(&rule));
        let old = self.inner.rules.set(checked.collect::<Result<_, _>>()?)?;
        if old.is_empty() {
            return Ok(());
        }
        self.inner.changes.rules_changed(&old.iter().map(|active| active.rule.name()).collect());
        let rules = self.inner.rules.load();
        let removed = old.iter().filter(|active| rules.get(active.rule.name()).is_none());
        removed.for_each(|active| self.inner.counts.absorb(&active.counts));
        Ok(())
    }

    /// Removes a rule, and returns whether it existed. Its counts expire by themselves.
    pub fn remove_rule(&self, name: &str) -> bool {
        let Some(removed) = self.inner.rules.remove(name) else { return false };
        self.inner.changes.rule_changed(name);
        self.inner.counts.absorb(&removed.counts);
        true
    }

    /// Returns the current rule with a name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<Arc<CheckedRule>> {
        rules::find(&self.inner.rules.load(), name).ok().map(|active| Arc::clone(&active.rule))
    }

    /// Returns the current rules, in the order of their names, with those that layers added.
    #[must_use]
    pub fn rules(&self) -> Vec<Arc<CheckedRule>> {
        self.inner.rules.load().iter().map(|active| Arc::clone(&active.rule)).collect()
    }

    /// Checks one request of `key` against a rule, and charges it if the rule allows it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::UnknownRule`], or [`Error::Storage`] if the storage failed.
    pub async fn check<'k>(&self, key: impl Into<Key<'k>>, rule: &str) -> Result<Decision, Error> {
        self.begin(&key.into(), Some(&[rule]), None, AskKind::Acquire)
            .await
            .map(Decisions::into_most_restrictive)
    }

    /// Checks a request with a cost of at least 1, and charges it if the rule allows it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::ZeroCost`], and the same errors as [`Limiter::check`].
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

    /// Checks one request of `key` against several rules. All of them are charged, or none if one denies.
    ///
    /// # Errors
    ///
    /// Returns [`Error::NoRules`] if no rule is named, [`Error::RepeatedRule`] if a rule is named twice, and the same
    /// errors as [`Limiter::check`].
    pub async fn check_all<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rules: &[&str],
    ) -> Result<Decisions, Error> {
        self.begin(&key.into(), Some(rules), None, AskKind::Acquire).await
    }

    /// Checks a request with a cost of at least 1 against several rules. Each of them is charged the cost, or none if
    /// one denies.
    ///
    /// # Errors
    ///
    /// Returns [`Error::ZeroCost`], and the same errors as [`Limiter::check_all`].
    pub async fn check_all_cost<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rules: &[&str],
        cost: u64,
    ) -> Result<Decisions, Error> {
        self.begin(&key.into(), Some(rules), Some(cost), AskKind::Acquire).await
    }

    /// Returns what [`Limiter::check`] would decide, but charges nothing.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Limiter::check`].
    pub async fn peek<'k>(&self, key: impl Into<Key<'k>>, rule: &str) -> Result<Decision, Error> {
        self.begin(&key.into(), Some(&[rule]), None, AskKind::Peek)
            .await
            .map(Decisions::into_most_restrictive)
    }

    /// Returns what [`Limiter::check_cost`] would decide, but charges nothing.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Limiter::check_cost`].
    pub async fn peek_cost<'k>(
        &self,
        key: impl Into<Key<'k>>,
        rule: &str,
        cost: u64,
    ) -> Result<Decision, Error> {
        self.begin(&key.into(), Some(&[rule]), Some(cost), AskKind::Peek)
            .await
            .map(Decisions::into_most_restrictive)
    }

    /// Resets the count of `key` under a rule, ends its block, and returns whether the storage had a count or a block.
    ///
    /// If a client has made requests and this returns `false`, `key` is not the key of that client. For example, with
    /// [`ClientIp`](https://docs.rs/throttle-http), the key of an IPv6 address is a network.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Limiter::check`].
    pub async fn reset<'k>(&self, key: impl Into<Key<'k>>, rule: &str) -> Result<bool, Error> {
        let key = key.into();
        let last = self.inner.changes.last_registered();
        let reply = {
            let rules = self.inner.rules.load();
            let charge = Charge::new(&key, &rules::find(&rules, rule)?.rule, 1);
            self.inner.storage.reset(&ChargeRequest::new(&[charge], self.inner.clock.as_ref()))
        };
        let was_stored = reply.await?;
        self.inner.changes.reset(&key, rule, last);
        Ok(was_stored)
    }

    /// Refunds `cost` of the latest charges of `key`: those in the current window, or those that a bucket has not
    /// refilled yet. A refund never makes more than the limit available.
    ///
    /// To undo a particular check, use [`Limiter::rollback`], which refunds exactly its charge.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Limiter::check`].
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

    /// Returns the list of keys that are always allowed.
    #[must_use]
    pub fn allow_list(&self) -> &AllowList {
        &self.inner.allow_list
    }

    /// Returns the list of keys that are always denied.
    #[must_use]
    pub fn deny_list(&self) -> &DenyList {
        &self.inner.deny_list
    }

    /// Adds a callback that is called for each denial by a rule.
    ///
    /// It runs while the request waits, so it must be short. It is not called for denials by the deny list: a
    /// callback that adds keys to the deny list does not extend their entries.
    ///
    /// A callback may call the limiter. Denials that it causes on its own thread are counted, but not reported to
    /// callbacks. A panic of a callback is logged, and affects neither the request nor the limiter.
    pub fn on_violation(&self, callback: impl Fn(&Violation) + Send + Sync + 'static) {
        self.inner.violations.add_callback(Arc::new(callback));
    }

    /// Returns the counts since the limiter was created.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let rules = self.inner.rules.load();
        let by_rule =
            rules.iter().map(|active| (active.rule.name().to_owned(), active.counts.all()));
        let concurrency = self.inner.lock_concurrency();
        let by_limit = concurrency.iter().map(|(name, counts)| (name.clone(), counts.all()));
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
            concurrency: by_limit.collect(),
        }
    }

    /// Records the rules that a layer may apply; `None` for every rule.
    #[doc(hidden)] // of our own crates
    pub fn record_applied(&self, names: Option<Vec<&String>>) {
        self.inner.applied.add(names);
    }

    /// Returns a rule that no layer applies and that was never checked. Each rule is returned once.
    #[doc(hidden)] // of our own crates
    #[must_use]
    pub fn take_unapplied_rule(&self) -> Option<String> {
        let unused = self.metrics().rules.into_iter().filter(|(_, counts)| counts.total == 0);
        self.inner.applied.take_other(unused.map(|(name, _)| name))
    }

    /// Returns a description of the limiter: its rules, its storage and the sizes of its lists.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        Status {
            rules: inner.rules.load().iter().map(RuleStatus::of).collect(),
            storage: inner.storage.kind().to_owned(),
            scope: inner.storage.scope(),
            allow_list: inner.allow_list.len(),
            deny_list: inner.deny_list.len(),
            own_clock: inner.clock.is_some(),
        }
    }

    /// Returns the time of the limiter's own clock if it has one, otherwise of the system clock.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.inner.now()
    }

    /// Returns the storage, for direct operations and for wrappers.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner.storage
    }

    /// Returns the value that the layers of this limiter share, and creates it first if necessary. All calls must have
    /// the same type.
    #[doc(hidden)]
    #[must_use]
    pub fn shared_by_layers<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let shared = self.inner.shared_by_layers.get_or_init(|| Arc::new(T::default()));
        Arc::clone(shared).downcast().unwrap_or_default()
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
