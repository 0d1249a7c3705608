//! Refusals: told to callbacks, and the recent ones kept.

use std::{
    cell::Cell,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::{decision::Decision, key::Key, time::Micros};

/// Tells of a denial by one rule. What the deny list denies is none: nobody is banned anew for coming while
/// banned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// Who was denied; serialized as a printable word ([`Key::to_token`]).
    pub key: Key<'static>,
    /// The rule that denied.
    pub rule: String,
    /// The most that the rule ever admits at once.
    pub limit: u64,
    /// What was asked for.
    pub cost: u64,
    /// The wait after which it is admitted, if any helps.
    pub retry_after: Option<Duration>,
    /// Whether the key is shut.
    pub blocked: bool,
    /// When it was.
    pub at: SystemTime,
}

thread_local! {
    /// Whether a callback is being called: what it causes itself it is not told of, or it would be without end.
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Is there while callbacks are called.
struct Telling;

impl Drop for Telling {
    fn drop(&mut self) {
        TELLING.set(false);
    }
}

type Callback = Arc<dyn Fn(&Violation) + Send + Sync>;

pub(super) struct Violations {
    count: AtomicU64,
    kept: usize,
    recent: Mutex<VecDeque<Recent>>,
    callbacks: ArcSwap<Vec<Callback>>,
}

/// What is kept of a violation until somebody asks: a flood must not allocate for each refusal.
struct Recent {
    key: Key<'static>,
    decision: Decision,
    at: Micros,
}

impl Violations {
    pub(super) fn keeping(kept: usize) -> Self {
        let recent = Mutex::new(VecDeque::with_capacity(kept.min(1024)));
        Self { count: AtomicU64::new(0), kept, recent, callbacks: ArcSwap::default() }
    }

    pub(super) fn add_callback(&self, callback: Callback) {
        self.callbacks.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(Arc::clone(&callback));
            all
        });
    }

    /// Adds a denial, unless it is by a list; `at` is when it was.
    pub(super) fn add(&self, key: &Key<'_>, decision: &Decision, at: Micros) {
        if decision.listed().is_some() {
            return;
        }
        self.count.fetch_add(1, Relaxed);
        if self.kept > 0 {
            let key = key.clone().into_owned();
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() == self.kept {
                recent.pop_front();
            }
            recent.push_back(Recent { key, decision: decision.clone(), at });
        }
        let callbacks = self.callbacks.load();
        if callbacks.is_empty() || TELLING.replace(true) {
            return;
        }
        let _telling = Telling;
        let violation = Violation::new(key, decision, at);
        for callback in callbacks.iter() {
            if catch_unwind(AssertUnwindSafe(|| callback(&violation))).is_err() {
                tracing::error!(rule = violation.rule, "a callback for violations panicked");
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub(super) fn recent(&self) -> Vec<Violation> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let violation = |one: &Recent| Violation::new(&one.key, &one.decision, one.at);
        recent.iter().map(violation).collect()
    }
}

impl Violation {
    fn new(key: &Key<'_>, decision: &Decision, at: Micros) -> Self {
        Self {
            key: key.clone().into_owned(),
            rule: decision.rule().to_owned(),
            limit: decision.limit(),
            cost: decision.cost(),
            retry_after: decision.retry_after(),
            blocked: decision.is_blocked(),
            at: at.to_system_time(),
        }
    }
}

impl fmt::Debug for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Violations").field("count", &self.count()).finish_non_exhaustive()
    }
}
