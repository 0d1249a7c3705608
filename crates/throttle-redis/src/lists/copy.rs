//! A copy of the shared lists, while it is read from Redis.

use std::{collections::HashMap, time::Duration};

use throttle_core::{Entry, ListEntry, ListMatch, StorageError};

/// The maximum number of entries of both lists together.
pub(super) const MAX_LIST_ENTRIES: usize = 500_000;

/// All entries as of one change.
#[derive(Default)]
pub(super) struct Copy {
    entries: HashMap<(ListMatch, Entry), End>,
    /// The number of texts that are not entries.
    pub(super) unreadable: usize,
    /// The ID of the latest change in the copy.
    pub(super) version: String,
    /// The time of Redis at the last read, in milliseconds.
    pub(super) now: u64,
}

/// A change of an entry: an addition, or a removal if the end is in the past.
pub(super) struct Change {
    pub(super) list: ListMatch,
    pub(super) entry: Entry,
    pub(super) end: End,
}

/// The end of an entry in milliseconds of Redis' clock; `None` if it has no expiry.
pub(super) type End = Option<u64>;

impl Copy {
    /// Applies a change.
    ///
    /// # Errors
    ///
    /// Returns an error if there are more than [`MAX_LIST_ENTRIES`] entries.
    pub(super) fn apply(&mut self, change: Change) -> Result<(), StorageError> {
        let Change { list, entry, end } = change;
        if end.is_some_and(|end| end <= self.now) {
            self.entries.remove(&(list, entry));
            return Ok(());
        }
        self.entries.insert((list, entry), end);
        if self.entries.len() > MAX_LIST_ENTRIES {
            return Err(StorageError::not_carried_out(format!(
                "the shared lists have more than {MAX_LIST_ENTRIES} entries; remove entries from them"
            )));
        }
        Ok(())
    }

    /// Returns the entries that have not expired.
    pub(super) fn into_entries(self) -> Vec<ListEntry> {
        let entries = self.entries.into_iter();
        let entry = |((list, entry), end)| ListEntry { list, entry, left: left(end, self.now) };
        entries.map(entry).filter(|entry| entry.left != Some(Duration::ZERO)).collect()
    }
}

/// Returns the remaining time of an entry: zero if it was removed, `None` if it has no expiry.
pub(super) fn left(end: End, now: u64) -> Option<Duration> {
    end.map(|end| Duration::from_millis(end.saturating_sub(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: usize, end: End) -> Change {
        Change { list: ListMatch::Denied, entry: Entry::key(n.to_string()), end }
    }

    #[test]
    fn too_many_entries_are_an_error() {
        let mut copy = Copy { now: 1_000, ..Copy::default() };
        for n in 0..MAX_LIST_ENTRIES {
            copy.apply(change(n, None)).unwrap();
        }
        copy.apply(change(0, Some(2_000))).unwrap();
        copy.apply(change(MAX_LIST_ENTRIES, Some(1_000))).unwrap(); // expired
        let error = copy.apply(change(MAX_LIST_ENTRIES, None)).unwrap_err().to_string();
        assert!(error.contains("more than 500000 entries"), "{error}");
    }

    #[test]
    fn expired_entries_are_not_returned() {
        let mut copy = Copy { now: 1_000, ..Copy::default() };
        for (n, end) in [(0, None), (1, Some(1_500)), (2, Some(3_000)), (3, Some(1_000))] {
            copy.apply(change(n, end)).unwrap();
        }
        copy.now = 1_500;
        let mut left: Vec<_> = copy.into_entries().into_iter().map(|entry| entry.left).collect();
        left.sort();
        assert_eq!(left, [None, Some(Duration::from_millis(1_500))]);
    }
}
