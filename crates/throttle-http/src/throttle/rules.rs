//! The rules that a request is checked against.

use std::time::Duration;

use smallvec::SmallVec;
use throttle_core::{AskKind, Decision, Decisions, Error, Key, Reply};

use super::Throttle;
use crate::picked_rules::PickedRules;

impl Throttle {
    /// Checks the named and the selected rules; returns `None` if there are none.
    pub(super) fn ask_rules(
        &self,
        key: &Key<'_>,
        picked: Option<&PickedRules>,
        cost: Option<u64>,
    ) -> Option<Reply<Decisions, Error>> {
        if !self.has_rules(picked) {
            return None;
        }
        let named = self.options().selection.names();
        let Some(picked) = picked else { return Some(self.ask(key, named, cost)) };
        let names = picked.join(named.unwrap_or_default());
        Some(self.ask(key, Some(&names[..]), cost))
    }

    /// Checks rules. If requests are shaped, a delay that is too long is a denial.
    #[inline]
    pub(super) fn ask<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        names: Option<&[N]>,
        cost: Option<u64>,
    ) -> Reply<Decisions, Error> {
        let kind = match self.options().shape {
            None => AskKind::Acquire,
            Some(max_delay) => AskKind::Shape { max_delay },
        };
        self.limiter().begin(key, names, cost, kind)
    }

    /// Checks the same rules again for a request that was allowed and then lost its scheduled time. A denial is
    /// not a violation, because the request continues to wait.
    pub(super) fn ask_waiting(
        &self,
        key: &Key<'_>,
        lost: &Decisions,
        cost: Option<u64>,
        max_delay: Duration,
    ) -> Reply<Decisions, Error> {
        let limiter = self.limiter();
        let kind = AskKind::Wait { max_delay };
        if self.options().select_rules.is_none() && !self.waits_for_key {
            return limiter.begin(key, self.options().selection.names(), cost, kind);
        }
        let rules = lost.all().iter().filter(|one| !one.is_concurrency());
        let names: SmallVec<[&str; 4]> = rules.map(Decision::rule).collect();
        limiter.begin(key, Some(&names), cost, kind)
    }

    /// Returns whether there are rules to check.
    pub(super) fn has_rules(&self, picked: Option<&PickedRules>) -> bool {
        let selection = &self.options().selection;
        match picked {
            None => !selection.is_empty(),
            Some(picked) => {
                !picked.is_empty() || selection.names().is_some_and(|names| !names.is_empty())
            }
        }
    }
}
