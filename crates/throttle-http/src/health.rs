//! Whether the storage decides: one line of the log for each change, not for each request.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{Decisions, Error};

/// How many failures are told of in [`WHILE`]: where some keys fail and others do not, the storage fails and works
/// again with every other request.
const MOST: u32 = 5;
const WHILE: Duration = Duration::from_secs(10);

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
        let mut told = self.told();
        if told.since.is_none_or(|since| since.elapsed() >= WHILE) {
            (told.since, told.times) = (Some(Instant::now()), 0);
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
        let reported = decisions.reported();
        if reported.listed().is_some() || reported.is_degraded() {
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
