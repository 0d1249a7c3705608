//! Whether the storage decides: one line of the log for each change, not for each request.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{Decisions, Error};

/// How many failures are told of in [`WHILE`]: where some keys fail and others do not, the storage fails and works
/// again with every other request.
const MOST: u32 = 5;
const WHILE: Duration = Duration::from_secs(10);
/// How often it is looked whether the cause is another: a flood of requests that fail is not made slower by it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Counts the requests that could not be decided since it last worked; 0 while it works.
#[derive(Debug, Default)]
pub(crate) struct Health {
    undecided: AtomicU64,
    told: Mutex<Told>,
}

/// What the log knows.
#[derive(Debug, Default)]
struct Told {
    /// Why requests cannot be decided, if that was told.
    error: Option<String>,
    /// When that was looked at last.
    looked: Option<Instant>,
    /// When the while began, and how many failures were told of in it.
    since: Option<Instant>,
    times: u32,
    /// How many requests could not be decided since something was told, in failures that were over.
    untold: u64,
}

impl Health {
    /// Notes a request that could not be decided.
    #[cold]
    pub(crate) fn failed(&self, error: &Error, then: &str) {
        self.undecided.fetch_add(1, Relaxed);
        let mut told = match self.told.try_lock() {
            Ok(told) => told,
            Err(TryLockError::Poisoned(told)) => told.into_inner(),
            Err(TryLockError::WouldBlock) => return, // another request looks
        };
        let now = Instant::now();
        let is_over = |began: Option<Instant>, span| {
            began.is_none_or(|began| now.saturating_duration_since(began) >= span)
        };
        if told.error.is_some() && !is_over(told.looked, LOOK_EVERY) {
            return;
        }
        told.looked = Some(now);
        if is_over(told.since, WHILE) {
            (told.since, told.times) = (Some(now), 0);
        }
        if told.times >= MOST {
            return;
        }
        let text = error.to_string();
        if told.error.as_ref() != Some(&text) {
            tracing::error!(error = text, "limits cannot be decided; until they can, {then}");
            told.error = Some(text);
            told.times += 1;
        }
    }

    /// Notes a request that was decided.
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
            return; // the storage was not asked, or did not answer
        }
        let undecided = self.undecided.swap(0, Relaxed);
        if undecided == 0 {
            return; // another request was faster
        }
        let mut told = self.told();
        let requests = told.untold + undecided;
        match told.error.take() {
            None => told.untold = requests,
            Some(_) => {
                told.untold = 0;
                tracing::warn!(requests, "limits are decided again");
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use throttle_core::StorageError;

    use super::*;

    fn fail(health: &Health, why: &'static str) {
        health.failed(&StorageError::other(why).into(), "requests pass");
    }

    impl Health {
        /// Lets time pass, to what is known of the failures.
        fn rewind(&self, span: Duration) {
            let mut told = self.told();
            told.looked = told.looked.and_then(|looked| looked.checked_sub(span));
            told.since = told.since.and_then(|since| since.checked_sub(span));
        }
    }

    #[test]
    fn a_cause_is_told_once_and_another_when_it_is_looked_for() {
        let health = Health::default();
        fail(&health, "no route to host");
        fail(&health, "no route to host");
        fail(&health, "the password is wrong");
        assert_eq!(health.told().times, 1);
        health.rewind(LOOK_EVERY);
        fail(&health, "the password is wrong");
        let told = health.told();
        assert_eq!(told.times, 2);
        assert!(told.error.as_ref().is_some_and(|error| error.contains("password")));
    }

    #[test]
    fn telling_begins_anew_after_a_while() {
        let health = Health::default();
        let causes = ["a", "b", "c", "d", "e", "f", "g"];
        for why in causes {
            fail(&health, why);
            health.rewind(LOOK_EVERY);
        }
        assert_eq!(health.told().times, MOST);
        health.rewind(WHILE);
        fail(&health, "h");
        assert_eq!(health.told().times, 1);
        assert_eq!(health.undecided.load(Relaxed), causes.len() as u64 + 1);
    }
}
