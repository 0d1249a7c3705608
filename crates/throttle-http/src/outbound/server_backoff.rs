//! Until when whose calls are to wait, because a server asked for it.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use throttle_core::{Key, Micros};

/// How many keys are paused at once; of more, the pauses that end first are forgotten.
pub(super) const MOST: usize = 10_000;

#[derive(Default)]
pub(super) struct Pauses {
    /// When the last of them ends, so that calls need not look while there is none.
    last: AtomicU64,
    by_key: Mutex<HashMap<Key<'static>, Pause>>,
}

/// An end that moves back with the clock, so that a step back does not prolong it.
struct Pause {
    until: Cell<Micros>,
    span: Micros,
}

impl Pause {
    fn left(&self, now: Micros) -> Micros {
        self.until.set(self.until.get().min(now.plus(self.span)));
        self.until.get().since(now)
    }
}

impl Pauses {
    /// Returns how long the calls of a key are to wait; never longer than the pause was, also where the clock
    /// was set back.
    pub(super) fn left(&self, key: &Key<'_>, now: impl FnOnce() -> Micros) -> Option<Duration> {
        let last = self.last.load(Relaxed);
        if last == 0 {
            return None;
        }
        let now = now();
        if last <= now.get() {
            return None;
        }
        let by_key = self.lock();
        let by_key: &HashMap<Key<'_>, Pause> = &by_key;
        let left = by_key.get(key)?.left(now);
        (left > Micros::ZERO).then(|| Duration::from(left))
    }

    /// Lets the calls of a key wait; what they wait for already is not shortened.
    pub(super) fn add(&self, key: Key<'static>, now: Micros, pause: Micros) {
        if pause == Micros::ZERO {
            return;
        }
        let until = now.plus(pause);
        let new = || Pause { until: Cell::new(until), span: pause };
        let mut by_key = self.lock();
        if by_key.len() >= MOST && !by_key.contains_key(&key) {
            make_room(&mut by_key, now);
        }
        let there = by_key.entry(key).or_insert_with(new);
        if there.left(now) < pause {
            *there = new();
        }
        self.last.fetch_max(until.get(), Relaxed);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key<'static>, Pause>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets what is over, and of the rest the half that ends first if that is not enough.
fn make_room(by_key: &mut HashMap<Key<'static>, Pause>, now: Micros) {
    by_key.retain(|_, pause| pause.left(now) > Micros::ZERO);
    if by_key.len() < MOST {
        return;
    }
    let mut ends: Vec<_> = by_key.values().map(|pause| pause.until.get()).collect();
    let (_, median, _) = ends.select_nth_unstable(MOST / 2);
    let median = *median;
    let mut kept = 0;
    by_key.retain(|_, pause| {
        let keep = pause.until.get() >= median && kept < MOST / 2;
        kept += usize::from(keep);
        keep
    });
}

impl std::fmt::Debug for Pauses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pauses").field("last", &self.last).finish_non_exhaustive()
    }
}
