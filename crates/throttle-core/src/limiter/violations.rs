//! Violations: denials by rules, which are counted, reported to callbacks, and kept for the metrics.

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

/// A denial by one rule. A denial by the deny list is not a violation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// The key that was denied, serialized as a printable token ([`Key::to_token`]).
    pub key: Key<'static>,
    /// The name of the rule that denied it.
    pub rule: String,
    /// The highest cost that the rule ever allows at once.
    pub limit: u64,
    /// The cost of the request.
    pub cost: u64,
    /// The wait after which the same cost is allowed; `None` if no wait helps.
    pub retry_after: Option<Duration>,
    /// Whether the key is blocked.
    pub blocked: bool,
    /// The time of the denial.
    pub at: SystemTime,
}

thread_local! {
    /// Whether this thread runs callbacks. Violations that they cause are not reported, to prevent endless recursion.
    static NOTIFYING: Cell<bool> = const { Cell::new(false) };
}

/// A guard that exists while this thread runs callbacks.
struct Notifying;

impl Drop for Notifying {
    fn drop(&mut self) {
        NOTIFYING.set(false);
    }
}

type Callback = Arc<dyn Fn(&Violation) + Send + Sync>;

pub(super) struct Violations {
    count: AtomicU64,
    max_recent: usize,
    recent: Mutex<VecDeque<Recent>>,
    callbacks: ArcSwap<Vec<Callback>>,
}

/// The data of a recent violation. A [`Violation`] is built only on request, because a flood of denials must not
/// allocate for each of them.
struct Recent {
    key: Key<'static>,
    decision: Decision,
    at: Micros,
}

impl Violations {
    pub(super) fn new(max_recent: usize) -> Self {
        let (count, recent, callbacks) = Default::default();
        Self { count, max_recent, recent, callbacks }
    }

    pub(super) fn add_callback(&self, callback: Callback) {
        self.callbacks.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(Arc::clone(&callback));
            all
        });
    }

    /// Records a denial at the time `at`, unless the deny list caused it.
    pub(super) fn add(&self, key: &Key<'_>, decision: &Decision, at: Micros) {
        if decision.listed().is_some() {
            return;
        }
        self.count.fetch_add(1, Relaxed);
        if self.max_recent > 0 {
            let key = key.clone().into_owned();
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() == self.max_recent {
                recent.pop_front();
            }
            recent.push_back(Recent { key, decision: decision.clone(), at });
        }
        let callbacks = self.callbacks.load();
        if callbacks.is_empty() || NOTIFYING.replace(true) {
            return;
        }
        let _notifying = Notifying;
        let violation = Violation::new(key, decision, at);
        for callback in callbacks.iter() {
            if catch_unwind(AssertUnwindSafe(|| callback(&violation))).is_err() {
                tracing::error!(
                    target: "ratethrottle::limiter",
                    rule = violation.rule, "a violation callback panicked"
                );
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
