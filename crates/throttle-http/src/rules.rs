//! Which rules a request is put to, where they were picked for it or places were taken before.

use throttle_core::{Decisions, Error, Key, Limiter, Reply, Rule};

use crate::{ConfigError, Options, PickedRules, Throttle, throttle::names};

impl Throttle {
    /// Adds the rules that the options bring, and notes which were not there before.
    pub(crate) fn add_rules(
        limiter: &Limiter,
        options: &Options,
        added: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        for (name, rate) in &options.added {
            let is_new = limiter.rule(name).is_none();
            limiter.add_rule(Rule::parse(name, rate)?).map_err(ConfigError::Rules)?;
            if is_new {
                added.push(name.clone());
            }
        }
        Ok(())
    }

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
        let Some(picked) = picked else { return Some(self.begin(key, named, cost)) };
        let names = picked.join(named.unwrap_or_default());
        Some(self.begin(key, Some(&names[..]), cost))
    }

    /// Asks the limiter; where requests wait for turns, by rules that deny whose turn is too far away.
    #[inline]
    pub(crate) fn begin<N: AsRef<str>>(
        &self,
        key: &Key<'_>,
        names: Option<&[N]>,
        cost: Option<u64>,
    ) -> Reply<Decisions, Error> {
        match self.options().shape {
            None => self.limiter().begin(key, names, cost),
            Some(longest) => self.limiter().begin_shaped(key, names, cost, longest),
        }
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
