//! The rules of a limiter. A check reads them with one atomic load, even while they change.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::{active_rule::ActiveRule, error::Error, rule_table::RuleTable};
use crate::rule::checked::CheckedRule;

/// The rules, in the order of their names.
#[derive(Default, Debug)]
pub(super) struct Rules {
    all: ArcSwap<RuleTable>,
    writing: Mutex<()>,
}

pub(super) type Snapshot = Guard<Arc<RuleTable>>;

impl Rules {
    pub(super) fn load(&self) -> Snapshot {
        self.all.load()
    }

    /// Adds a rule; adding the same rule again has no effect, even if it was replaced in the meantime. A rule that was
    /// added as a default rule stays one.
    pub(super) fn add(&self, rule: CheckedRule, is_default: bool) -> Result<(), Error> {
        self.change(|all| match all.position(rule.name()) {
            Ok(at) => {
                let active = all.rule_mut(at);
                if !active.was_added_as(&rule) {
                    return Err(Error::DuplicateRule(rule.name().to_owned()));
                }
                active.is_default |= is_default;
                active.is_named |= !is_default;
                Ok(())
            }
            Err(at) => {
                let mut active = ActiveRule::new(rule);
                (active.is_default, active.is_named) = (is_default, !is_default);
                all.insert(at, active);
                Ok(())
            }
        })
    }

    /// Replaces the rule with the same name, or adds a default rule; returns whether a rule was replaced.
    pub(super) fn replace(&self, rule: CheckedRule) -> bool {
        self.change(|all| match all.position(rule.name()) {
            Ok(at) => {
                all.rule_mut(at).replace(rule);
                true
            }
            Err(at) => {
                all.insert(at, ActiveRule::new(rule));
                false
            }
        })
    }

    pub(super) fn remove(&self, name: &str) -> Option<ActiveRule> {
        self.change(|all| all.position(name).map(|at| all.remove(at)).ok())
    }

    /// Replaces the default rules by these, and returns the old versions of those that were changed or removed. Rules
    /// that were added for requests that name them stay.
    ///
    /// Rules that stay keep their counts; on an error, all stay as they are.
    pub(super) fn set(&self, rules: Vec<CheckedRule>) -> Result<Vec<ActiveRule>, Error> {
        self.change(|all| {
            let mut new = RuleTable::default();
            for rule in rules {
                let Err(at) = new.position(rule.name()) else {
                    return Err(Error::DuplicateRule(rule.name().to_owned()));
                };
                let active = match all.get(rule.name()).cloned() {
                    Some(named) if named.is_named && !named.was_added_as(&rule) => {
                        return Err(Error::DuplicateRule(rule.name().to_owned()));
                    }
                    Some(mut named) if named.is_named => {
                        named.is_default = true;
                        named
                    }
                    Some(mut active) => {
                        if *active.rule != rule {
                            active.replace(rule);
                        }
                        active
                    }
                    None => ActiveRule::new(rule),
                };
                new.insert(at, active);
            }
            let mut old = Vec::new();
            for active in all.iter() {
                match new.position(active.rule.name()) {
                    Ok(at) if Arc::ptr_eq(&new.rule_mut(at).rule, &active.rule) => {}
                    Err(at) if active.is_named => {
                        let mut named = active.clone();
                        named.is_default = false;
                        new.insert(at, named);
                    }
                    _ => old.push(active.clone()),
                }
            }
            *all = new;
            Ok(old)
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut RuleTable) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = RuleTable::clone(&self.all.load());
        let answer = change(&mut all);
        self.all.store(Arc::new(all));
        answer
    }
}

/// Returns the rules of a request that names none.
pub(super) fn defaults(all: &RuleTable) -> impl Iterator<Item = &ActiveRule> {
    all.iter().filter(|active| active.is_default)
}

/// Returns the rule with a name.
#[inline]
pub(super) fn find<'a>(all: &'a RuleTable, name: &str) -> Result<&'a ActiveRule, Error> {
    all.get(name).ok_or_else(|| unknown(all, name))
}

#[cold]
fn unknown(all: &RuleTable, name: &str) -> Error {
    const SHOWN: usize = 20;
    let count = all.iter().count();
    if count == 0 {
        return Error::NoRules;
    }
    let mut known: Vec<_> =
        all.iter().take(SHOWN).map(|active| format!("{:?}", active.rule.name())).collect();
    if count > SHOWN {
        known.push(format!("{} more", count - SHOWN));
    }
    Error::UnknownRule { name: name.chars().take(64).collect(), known: known.join(", ") }
}
