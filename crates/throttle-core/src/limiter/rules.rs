//! The rules of a limiter. A check reads them with one atomic load, even while they change.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use super::{error::Error, metrics::Counts};
use crate::rule::checked::CheckedRule;

/// A rule with its counts, which stay if it is replaced.
#[derive(Clone, Debug)]
pub(super) struct ActiveRule {
    pub(super) rule: Arc<CheckedRule>,
    /// The rule as it was added, before it was replaced.
    first: Arc<CheckedRule>,
    /// The rule with the longest delay of shaped requests. All of them share one `Arc`, because header fields are
    /// cached by the address of the rule.
    shaped: Arc<ArcSwapOption<Shaped>>,
    pub(super) counts: Arc<Counts>,
    /// Whether requests that name no rule are checked against it.
    pub(super) is_default: bool,
}

impl ActiveRule {
    fn new(rule: CheckedRule, is_default: bool) -> Self {
        let rule = Arc::new(rule);
        let shaped = Arc::default();
        Self { first: Arc::clone(&rule), rule, shaped, counts: Arc::default(), is_default }
    }

    /// Returns the rule with a longest delay, if it differs from the rule itself.
    pub(super) fn shaped(&self, max_delay: Duration) -> Option<Arc<CheckedRule>> {
        if let Some(shaped) = &*self.shaped.load()
            && shaped.max_delay == max_delay
        {
            return Some(Arc::clone(&shaped.rule));
        }
        let rule = self.rule.with_max_delay(max_delay);
        rule.max_delay()?;
        let rule = Arc::new(rule);
        self.shaped.store(Some(Arc::new(Shaped { max_delay, rule: Arc::clone(&rule) })));
        Some(rule)
    }
}

#[derive(Debug)]
struct Shaped {
    max_delay: Duration,
    rule: Arc<CheckedRule>,
}

/// The rules, in the order of their names.
#[derive(Default, Debug)]
pub(super) struct Rules {
    all: ArcSwap<Vec<ActiveRule>>,
    writing: Mutex<()>,
}

pub(super) type Snapshot = Guard<Arc<Vec<ActiveRule>>>;

impl Rules {
    pub(super) fn load(&self) -> Snapshot {
        self.all.load()
    }

    /// Adds a rule; adding the same rule again has no effect, even if it was replaced in the meantime. A rule that was
    /// added as a default rule stays one.
    pub(super) fn add(&self, rule: CheckedRule, is_default: bool) -> Result<(), Error> {
        self.change(|all| match position(all, rule.name()) {
            Ok(i) if *all[i].rule == rule || *all[i].first == rule => {
                all[i].is_default |= is_default;
                Ok(())
            }
            Ok(_) => Err(Error::DuplicateRule(rule.name().to_owned())),
            Err(i) => {
                all.insert(i, ActiveRule::new(rule, is_default));
                Ok(())
            }
        })
    }

    /// Replaces the rule with the same name, or adds a default rule; returns whether a rule was replaced.
    pub(super) fn replace(&self, rule: CheckedRule) -> bool {
        self.change(|all| match position(all, rule.name()) {
            Ok(i) => {
                all[i].rule = Arc::new(rule);
                all[i].shaped = Arc::default();
                true
            }
            Err(i) => {
                all.insert(i, ActiveRule::new(rule, true));
                false
            }
        })
    }

    pub(super) fn remove(&self, name: &str) -> Option<ActiveRule> {
        self.change(|all| position(all, name).map(|i| all.remove(i)).ok())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<ActiveRule>) -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::clone(&self.all.load());
        let answer = change(&mut all);
        self.all.store(Arc::new(all));
        answer
    }
}

/// Returns the rules of a request that names none.
pub(super) fn defaults(all: &[ActiveRule]) -> impl Iterator<Item = &ActiveRule> {
    all.iter().filter(|active| active.is_default)
}

/// Returns the rule with a name.
pub(super) fn find<'a>(all: &'a [ActiveRule], name: &str) -> Result<&'a ActiveRule, Error> {
    position(all, name).map(|i| &all[i]).map_err(|_| unknown(all, name))
}

fn position(all: &[ActiveRule], name: &str) -> Result<usize, usize> {
    all.binary_search_by(|active| active.rule.name().cmp(name))
}

#[cold]
fn unknown(all: &[ActiveRule], name: &str) -> Error {
    const SHOWN: usize = 20;
    if all.is_empty() {
        return Error::NoRules;
    }
    let mut known: Vec<_> =
        all.iter().take(SHOWN).map(|active| format!("{:?}", active.rule.name())).collect();
    if all.len() > SHOWN {
        known.push(format!("{} more", all.len() - SHOWN));
    }
    Error::UnknownRule { name: name.chars().take(64).collect(), known: known.join(", ") }
}
