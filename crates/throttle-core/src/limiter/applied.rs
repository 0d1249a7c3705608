//! The rules that layers apply, to find those that none applies.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The names of the rules that layers apply; `None` if they may apply every rule.
#[derive(Debug)]
pub(super) struct Applied(Mutex<Option<BTreeSet<String>>>);

impl Applied {
    /// Adds the rules of a layer; `None` for every rule.
    pub(super) fn add(&self, names: Option<Vec<&String>>) {
        let mut applied = self.lock();
        match (&mut *applied, names) {
            (Some(applied), Some(names)) => applied.extend(names.into_iter().cloned()),
            _ => *applied = None,
        }
    }

    /// Returns the first of these rules that no layer applies, and adds it.
    pub(super) fn take_other(&self, rules: impl IntoIterator<Item = String>) -> Option<String> {
        let mut applied = self.lock();
        let applied = applied.as_mut()?;
        rules.into_iter().find(|rule| applied.insert(rule.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Applied {
    fn default() -> Self {
        Self(Mutex::new(Some(BTreeSet::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_that_no_layer_applies_is_returned_once() {
        let (applied, api) = (Applied::default(), "api".to_owned());
        applied.add(Some(vec![&api]));
        let take = || applied.take_other(["api", "a", "b"].map(str::to_owned));
        assert_eq!([take(), take(), take()], [Some("a".to_owned()), Some("b".to_owned()), None]);
    }

    #[test]
    fn a_layer_of_every_rule_applies_also_those_that_are_added_later() {
        let applied = Applied::default();
        applied.add(None);
        applied.add(Some(Vec::new()));
        assert_eq!(applied.take_other(["later".to_owned()]), None);
    }
}
