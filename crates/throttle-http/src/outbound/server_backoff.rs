//! The pauses that servers requested, by key.

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

/// The maximum number of keys with a pause. Beyond it, the pauses that end first are dropped.
pub(super) const MAX_KEYS: usize = 10_000;

#[derive(Default)]
pub(super) struct Pauses {
    /// The end of the last pause, so calls take no lock if there is no pause.
    last: AtomicU64,
    by_key: Mutex<HashMap<Key<'static>, Pause>>,
}

/// The end of a pause. If the clock steps back, the end moves back too, so the pause does not get longer.
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
    /// Returns the rest of the pause of a key. It is never longer than the pause, even if the clock was set back.
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

    /// Adds a pause for a key; a pause that ends later stays.
    pub(super) fn add(&self, key: Key<'static>, now: Micros, pause: Micros) {
        if pause == Micros::ZERO {
            return;
        }
        let until = now.plus(pause);
        let new = || Pause { until: Cell::new(until), span: pause };
        let mut by_key = self.lock();
        if by_key.len() >= MAX_KEYS && !by_key.contains_key(&key) {
            make_room(&mut by_key, now);
        }
        let pause_of_key = by_key.entry(key).or_insert_with(new);
        if pause_of_key.left(now) < pause {
            *pause_of_key = new();
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

/// Removes pauses that are over, and if that is not enough, the half that ends first.
fn make_room(by_key: &mut HashMap<Key<'static>, Pause>, now: Micros) {
    by_key.retain(|_, pause| pause.left(now) > Micros::ZERO);
    if by_key.len() < MAX_KEYS {
        return;
    }
    let mut ends: Vec<_> = by_key.values().map(|pause| pause.until.get()).collect();
    let (_, median, _) = ends.select_nth_unstable(MAX_KEYS / 2);
    let median = *median;
    let mut kept = 0;
    by_key.retain(|_, pause| {
        let keep = pause.until.get() >= median && kept < MAX_KEYS / 2;
        kept += usize::from(keep);
        keep
    });
}

impl std::fmt::Debug for Pauses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pauses").field("last", &self.last).finish_non_exhaustive()
    }
}
