//! The rules in the order of their names, in chunks that the versions of the table share.

use std::{fmt, sync::Arc};

use super::active_rule::ActiveRule;

/// Rules in the order of their names.
///
/// A version of the table is never changed, because checks read it without a lock. A change copies the first chunk and
/// the one that it changes; the other chunks are shared with the old version. Without chunks, adding thousands of rules
/// one by one would copy all of them each time.
#[derive(Clone, Default)]
pub(super) struct RuleTable {
    /// The first rules; usually all of them, so that a lookup needs one search.
    first: Vec<ActiveRule>,
    /// The other rules; no chunk is empty.
    rest: Vec<Arc<Vec<ActiveRule>>>,
}

/// The most rules in a chunk.
const CHUNK: usize = 128;

/// The position of a rule, or the one at which it belongs.
#[derive(Copy, Clone)]
pub(super) struct Position {
    /// The number of the chunk; the first is 0.
    chunk: usize,
    index: usize,
}

impl RuleTable {
    /// Returns the only rule of the table.
    #[inline]
    pub(super) fn only(&self) -> Option<&ActiveRule> {
        match &self.first[..] {
            [only] if self.rest.is_empty() => Some(only),
            _ => None,
        }
    }

    /// Returns the rule with a name.
    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<&ActiveRule> {
        let Position { chunk, index } = self.position(name).ok()?;
        Some(&self.chunk(chunk)[index])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ActiveRule> {
        self.first.iter().chain(self.rest.iter().flat_map(|chunk| chunk.iter()))
    }

    /// Returns the position of a name, as [`slice::binary_search`] does.
    #[inline]
    pub(super) fn position(&self, name: &str) -> Result<Position, Position> {
        let chunk = match self.rest.is_empty() {
            true => 0,
            false => self.rest.partition_point(|chunk| chunk[0].rule.name() <= name),
        };
        let found = self.chunk(chunk).binary_search_by(|active| active.rule.name().cmp(name));
        found.map(|index| Position { chunk, index }).map_err(|index| Position { chunk, index })
    }

    /// Returns the rule at a position that was found.
    pub(super) fn rule_mut(&mut self, at: Position) -> &mut ActiveRule {
        &mut self.chunk_mut(at.chunk)[at.index]
    }

    /// Inserts a rule at the position of its name.
    pub(super) fn insert(&mut self, at: Position, rule: ActiveRule) {
        let chunk = self.chunk_mut(at.chunk);
        chunk.insert(at.index, rule);
        if chunk.len() > CHUNK {
            let upper = chunk.split_off(CHUNK / 2);
            self.rest.insert(at.chunk, Arc::new(upper));
        }
    }

    /// Removes the rule at a position that was found.
    pub(super) fn remove(&mut self, at: Position) -> ActiveRule {
        let chunk = self.chunk_mut(at.chunk);
        let removed = chunk.remove(at.index);
        if chunk.is_empty() && at.chunk > 0 {
            self.rest.remove(at.chunk - 1);
        }
        removed
    }

    #[inline]
    fn chunk(&self, number: usize) -> &[ActiveRule] {
        match number {
            0 => &self.first,
            _ => &self.rest[number - 1],
        }
    }

    fn chunk_mut(&mut self, number: usize) -> &mut Vec<ActiveRule> {
        match number {
            0 => &mut self.first,
            _ => Arc::make_mut(&mut self.rest[number - 1]),
        }
    }
}

impl fmt::Debug for RuleTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::rule::definition::Rule;

    fn rule(number: u16, limit: u64) -> ActiveRule {
        ActiveRule::new(Rule::per_minute(format!("{number:05}"), limit).check().unwrap())
    }

    fn limits(table: &RuleTable) -> Vec<(String, u64)> {
        table.iter().map(|one| (one.rule.name().to_owned(), one.rule.limit())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_table_is_a_sorted_map_and_older_versions_of_it_do_not_change(
            changes in prop::collection::vec((0..600_u16, 1..=2_u64), 0..2_000),
        ) {
            let (mut table, mut model) = (RuleTable::default(), BTreeMap::new());
            // Few removals at first, so that there are many chunks.
            for (i, (number, limit)) in changes.iter().enumerate() {
                let name = format!("{number:05}");
                let old = (i % 64 == 0).then(|| (table.clone(), limits(&table)));
                match table.position(&name) {
                    Ok(at) if i > 1_000 && i % 4 > 0 => {
                        let removed = table.remove(at);
                        prop_assert_eq!(removed.rule.name(), &name);
                        model.remove(&name);
                    }
                    Ok(at) => {
                        *table.rule_mut(at) = rule(*number, *limit);
                        model.insert(name, *limit);
                    }
                    Err(at) => {
                        table.insert(at, rule(*number, *limit));
                        model.insert(name, *limit);
                    }
                }
                if let Some((old, before)) = old {
                    prop_assert_eq!(limits(&old), before);
                }
            }
            prop_assert_eq!(limits(&table), model.clone().into_iter().collect::<Vec<_>>());
            for number in 0..600 {
                let name = format!("{number:05}");
                let found = table.get(&name).map(|active| active.rule.limit());
                prop_assert_eq!(found, model.get(&name).copied());
            }
            prop_assert_eq!(table.only().is_some(), model.len() == 1 && table.rest.is_empty());
            prop_assert!(table.rest.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
        }
    }
}
