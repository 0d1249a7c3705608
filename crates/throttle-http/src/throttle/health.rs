//! The health of the storage, for the log: one line for each change, not for each request.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{Decisions, Error, Limiter};

/// The maximum number of causes that are logged within [`LOG_WINDOW`]. Without this bound, a storage that
/// fails for some keys only would cause two lines for every other request.
const MAX_LOGGED: u32 = 5;
const LOG_WINDOW: Duration = Duration::from_secs(10);
/// The shortest time between two comparisons of the cause, so that a flood of failing requests stays fast.
const COMPARE_EVERY: Duration = Duration::from_millis(50);

/// The health of the storage as one layer sees it.
#[derive(Debug)]
pub(crate) struct Health {
    log: Arc<HealthLog>,
    outage: Arc<Outage>,
}

/// The layers of a limiter whose requests could not be checked since the storage last worked. The first request that the
/// storage decides, in any of the layers, ends the failure for all of them: a layer may get no further request.
#[derive(Default, Debug)]
struct Outage {
    is_on: AtomicBool,
    layers: Mutex<Vec<Weak<HealthLog>>>,
}

/// The number of requests of a layer that could not be checked since the storage last worked, and the state of the log.
#[derive(Debug)]
struct HealthLog {
    /// The rules of the layer, for the log.
    rules: String,
    undecided: AtomicU64,
    state: Mutex<LogState>,
}

/// The causes and numbers that were logged.
#[derive(Debug, Default)]
struct LogState {
    /// The cause of the current failure, if it was logged.
    error: Option<String>,
    /// The last time that the cause was compared.
    compared: Option<Instant>,
    /// The start of the current window, and the number of causes that were logged in it.
    window_start: Option<Instant>,
    logged: u32,
    /// The number of requests that could not be checked in earlier failures, if the end of these failures
    /// was not logged.
    unreported: u64,
}

impl Health {
    /// Creates the health of a layer with these rules.
    pub(crate) fn new(limiter: &Limiter, rules: String) -> Self {
        let (undecided, state) = (AtomicU64::new(0), Mutex::default());
        let log = Arc::new(HealthLog { rules, undecided, state });
        Self { log, outage: limiter.shared_by_layers() }
    }

    /// Records a request that could not be checked; `effect` is the effect on such requests.
    #[cold]
    pub(crate) fn failed(&self, error: &Error, effect: &str) {
        if self.log.undecided.fetch_add(1, Relaxed) == 0 {
            lock(&self.outage.layers).push(Arc::downgrade(&self.log));
            self.outage.is_on.store(true, Relaxed);
        }
        self.log.failed(error, effect);
    }

    /// Records a request that was checked.
    #[inline]
    pub(crate) fn decided(&self, decisions: &Decisions) {
        if self.outage.is_on.load(Relaxed) {
            self.outage.end(decisions);
        }
    }
}

impl Outage {
    #[cold]
    fn end(&self, decisions: &Decisions) {
        let most_restrictive = decisions.most_restrictive();
        if most_restrictive.listed().is_some() || most_restrictive.is_degraded() {
            return; // the decision does not come from the storage
        }
        if self.is_on.swap(false, Relaxed) {
            let layers = mem::take(&mut *lock(&self.layers));
            layers.iter().filter_map(Weak::upgrade).for_each(|layer| layer.recovered());
        }
    }
}

impl HealthLog {
    fn failed(&self, error: &Error, effect: &str) {
        let mut log = match self.state.try_lock() {
            Ok(log) => log,
            Err(TryLockError::Poisoned(log)) => log.into_inner(),
            Err(TryLockError::WouldBlock) => return, // another request compares
        };
        let now = Instant::now();
        let is_over = |began: Option<Instant>, span| {
            began.is_none_or(|began| now.saturating_duration_since(began) >= span)
        };
        if log.error.is_some() && !is_over(log.compared, COMPARE_EVERY) {
            return;
        }
        log.compared = Some(now);
        if is_over(log.window_start, LOG_WINDOW) {
            (log.window_start, log.logged) = (Some(now), 0);
        }
        if log.logged >= MAX_LOGGED {
            return;
        }
        let text = error.to_string();
        if log.error.as_ref() != Some(&text) {
            tracing::error!(
                target: "ratethrottle::storage",
                error = text,
                rules = self.rules,
                "requests under these rules cannot be checked; until they can, {effect}"
            );
            log.error = Some(text);
            log.logged += 1;
        }
    }

    fn recovered(&self) {
        let undecided = self.undecided.swap(0, Relaxed);
        let mut log = lock(&self.state);
        let requests = log.unreported + undecided;
        match log.error.take() {
            None => log.unreported = requests,
            Some(_) => {
                log.unreported = 0;
                let rules = &self.rules;
                tracing::warn!(
                    target: "ratethrottle::storage",
                    requests, rules, "requests under these rules are checked again"
                );
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use throttle_core::StorageError;

    use super::*;

    fn fail(health: &HealthLog, why: &'static str) {
        health.failed(&StorageError::other(why).into(), "requests are allowed");
    }

    fn health() -> HealthLog {
        HealthLog { rules: "api".to_owned(), undecided: AtomicU64::new(0), state: Mutex::default() }
    }

    impl HealthLog {
        /// Moves the recorded times into the past.
        fn rewind(&self, span: Duration) {
            let mut log = lock(&self.state);
            log.compared = log.compared.and_then(|time| time.checked_sub(span));
            log.window_start = log.window_start.and_then(|time| time.checked_sub(span));
        }
    }

    #[test]
    fn a_cause_is_logged_once_and_another_one_after_the_next_comparison() {
        let health = health();
        fail(&health, "no route to host");
        fail(&health, "no route to host");
        fail(&health, "the password is wrong");
        assert_eq!(lock(&health.state).logged, 1);
        health.rewind(COMPARE_EVERY);
        fail(&health, "the password is wrong");
        let log = lock(&health.state);
        assert_eq!(log.logged, 2);
        assert!(log.error.as_ref().is_some_and(|error| error.contains("password")));
    }

    #[test]
    fn logging_starts_again_in_the_next_window() {
        let health = health();
        let causes = ["a", "b", "c", "d", "e", "f", "g"];
        for why in causes {
            fail(&health, why);
            health.rewind(COMPARE_EVERY);
        }
        assert_eq!(lock(&health.state).logged, MAX_LOGGED);
        health.rewind(LOG_WINDOW);
        fail(&health, "h");
        assert_eq!(lock(&health.state).logged, 1);
    }
}
