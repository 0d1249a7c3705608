//! The health of the storage, for the log: one line for each change, not for each request.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{Decisions, Error};

/// The maximum number of causes that are logged within [`LOG_WINDOW`]. Without this bound, a storage that
/// fails for some keys only would cause two lines for every other request.
const MAX_LOGGED: u32 = 5;
const LOG_WINDOW: Duration = Duration::from_secs(10);
/// The shortest time between two comparisons of the cause, so that a flood of failing requests stays fast.
const COMPARE_EVERY: Duration = Duration::from_millis(50);

/// The number of requests that could not be checked since the storage last worked, and the state of the log.
#[derive(Debug, Default)]
pub(crate) struct Health {
    undecided: AtomicU64,
    log: Mutex<LogState>,
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
    /// Records a request that could not be checked; `effect` is the effect on such requests.
    #[cold]
    pub(crate) fn failed(&self, error: &Error, effect: &str) {
        self.undecided.fetch_add(1, Relaxed);
        let mut log = match self.log.try_lock() {
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
                error = text,
                "rate limits cannot be checked; until they can, {effect}"
            );
            log.error = Some(text);
            log.logged += 1;
        }
    }

    /// Records a request that was checked.
    #[inline]
    pub(crate) fn decided(&self, decisions: &Decisions) {
        if self.undecided.load(Relaxed) != 0 {
            self.recover(decisions);
        }
    }

    #[cold]
    fn recover(&self, decisions: &Decisions) {
        let most_restrictive = decisions.most_restrictive();
        if most_restrictive.listed().is_some() || most_restrictive.is_degraded() {
            return; // the decision does not come from the storage
        }
        let undecided = self.undecided.swap(0, Relaxed);
        if undecided == 0 {
            return; // another request logs the recovery
        }
        let mut log = self.lock();
        let requests = log.unreported + undecided;
        match log.error.take() {
            None => log.unreported = requests,
            Some(_) => {
                log.unreported = 0;
                tracing::warn!(requests, "rate limits are checked again");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use throttle_core::StorageError;

    use super::*;

    fn fail(health: &Health, why: &'static str) {
        health.failed(&StorageError::other(why).into(), "requests are allowed");
    }

    impl Health {
        /// Moves the recorded times into the past.
        fn rewind(&self, span: Duration) {
            let mut log = self.lock();
            log.compared = log.compared.and_then(|time| time.checked_sub(span));
            log.window_start = log.window_start.and_then(|time| time.checked_sub(span));
        }
    }

    #[test]
    fn a_cause_is_logged_once_and_another_one_after_the_next_comparison() {
        let health = Health::default();
        fail(&health, "no route to host");
        fail(&health, "no route to host");
        fail(&health, "the password is wrong");
        assert_eq!(health.lock().logged, 1);
        health.rewind(COMPARE_EVERY);
        fail(&health, "the password is wrong");
        let log = health.lock();
        assert_eq!(log.logged, 2);
        assert!(log.error.as_ref().is_some_and(|error| error.contains("password")));
    }

    #[test]
    fn logging_starts_again_in_the_next_window() {
        let health = Health::default();
        let causes = ["a", "b", "c", "d", "e", "f", "g"];
        for why in causes {
            fail(&health, why);
            health.rewind(COMPARE_EVERY);
        }
        assert_eq!(health.lock().logged, MAX_LOGGED);
        health.rewind(LOG_WINDOW);
        fail(&health, "h");
        assert_eq!(health.lock().logged, 1);
        assert_eq!(health.undecided.load(Relaxed), causes.len() as u64 + 1);
    }
}
