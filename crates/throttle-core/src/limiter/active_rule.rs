//! A rule of a limiter, with its counts.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;

use super::metrics::Counts;
use crate::rule::checked::CheckedRule;

/// A rule with its counts, which stay if it is replaced.
#[derive(Clone, Debug)]
pub(super) struct ActiveRule {
    pub(super) rule: Arc<CheckedRule>,
    /// The rule as it was added, before it was replaced.
    pub(super) first: Arc<CheckedRule>,
    /// The rule with the longest delay of shaped requests. All of them share one `Arc`, because header fields are
    /// cached by the address of the rule.
    shaped: Arc<ArcSwapOption<Shaped>>,
    pub(super) counts: Arc<Counts>,
    /// Whether requests that name no rule are checked against it.
    pub(super) is_default: bool,
    /// Whether it was added for requests that name it.
    pub(super) is_named: bool,
}

impl ActiveRule {
    pub(super) fn new(rule: CheckedRule) -> Self {
        let rule = Arc::new(rule);
        let (shaped, counts) = Default::default();
        let (is_default, is_named) = (true, false);
        Self { first: Arc::clone(&rule), rule, shaped, counts, is_default, is_named }
    }

    /// Returns whether a rule is this one, or the one that this one replaced.
    pub(super) fn was_added_as(&self, rule: &CheckedRule) -> bool {
        *self.rule == *rule || *self.first == *rule
    }

    /// Replaces the rule, and keeps its counts.
    pub(super) fn replace(&mut self, rule: CheckedRule) {
        self.rule = Arc::new(rule);
        self.shaped = Arc::default();
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
