//! Which rules a request is put to, where they were picked for it or places were taken before.

use throttle_core::{Decisions, Error, Key, Reply};

use crate::{PickedRules, Throttle, throttle::names};

impl Throttle {
    /// Asks the limiter by the rules that were named and picked; none where there are none.
    pub(crate) fn begin_rules(
        &self,
        key: &Key<'_>,
        picked: Option<&PickedRules>,
        cost: Option<u64>,
    ) -> Option<Reply<Decisions, Error>> {
        if !self.asks_rules(picked) {
            return None;
        }
        let named = names(&self.options().selection);
        let Some(picked) = picked else { return Some(self.limiter().begin(key, named, cost)) };
        let names = picked.join(named.unwrap_or_default());
        Some(self.limiter().begin(key, Some(&names[..]), cost))
    }

    /// Returns whether there are rules to ask.
    pub(crate) fn asks_rules(&self, picked: Option<&PickedRules>) -> bool {
        match picked {
            None => !self.options().selection.is_empty(),
            Some(picked) => {
                !picked.is_empty()
                    || names(&self.options().selection).is_some_and(|n| !n.is_empty())
            }
        }
    }
}
