//! Violations: denials by rules, which are counted, reported to callbacks, and kept for the metrics.

use std::{
    cell::Cell,
    collections::VecDeque,
    fmt,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use serde::{Serialize, Serializer};

use crate::{decision::Decision, key::Key, seconds, time::Micros};

/// A denial by one rule. A denial by the deny list is not a violation.
///
/// Its key may be an API key. `Debug` and `Serialize` therefore write a digest, unless
/// [`LimiterBuilder::show_keys`](super::LimiterBuilder::show_keys) is set: `digest-` and 16 hexadecimal digits, which
/// are the same for equal keys, and change when the limiter is created again.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The key that was denied. Callbacks receive the key itself; in
    /// [`Metrics::recent_violations`](super::Metrics::recent_violations) it is the text of the digest.
    pub key: Key<'static>,
    /// The name of the rule that denied it.
    pub rule: String,
    /// The highest cost that the rule ever allows at once.
    pub limit: u64,
    /// The cost of the request.
    pub cost: u64,
    /// The wait after which the same cost is allowed; `None` if waiting does not help.
    pub retry_after: Option<Duration>,
    /// Whether the key is blocked.
    pub blocked: bool,
    /// The time of the denial.
    pub at: SystemTime,
    /// The digest to write instead of the key.
    digest: Option<u64>,
}

/// The fields of a [`Violation`] as they are written.
#[derive(Serialize)]
#[serde(rename = "Violation")]
struct Written<'a> {
    key: String,
    rule: &'a str,
    limit: u64,
    cost: u64,
    #[serde(serialize_with = "seconds::of_option")]
    retry_after: Option<Duration>,
    blocked: bool,
    #[serde(serialize_with = "seconds::since_epoch")]
    at: SystemTime,
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
    /// Whether keys are shown as they are.
    shows_keys: bool,
    /// The hasher of digests. It has random keys, so that a guessed key cannot be compared with a digest.
    hasher: RandomState,
    recent: Mutex<VecDeque<Recent>>,
    callbacks: ArcSwap<Vec<Callback>>,
}

/// The data of a recent violation. A [`Violation`] is built only on request, because a flood of denials must not
/// allocate for each of them.
struct Recent {
    key: RecentKey,
    decision: Decision,
    at: Micros,
}

enum RecentKey {
    Shown(Key<'static>),
    Digest(u64),
}

impl Violations {
    pub(super) fn new(max_recent: usize, shows_keys: bool) -> Self {
        let (count, recent, callbacks) = Default::default();
        Self { count, max_recent, shows_keys, hasher: RandomState::new(), recent, callbacks }
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
        let callbacks = self.callbacks.load();
        if self.max_recent == 0 && callbacks.is_empty() {
            return;
        }
        let digest = (!self.shows_keys).then(|| self.hasher.hash_one(key));
        if self.max_recent > 0 {
            let key = match digest {
                Some(digest) => RecentKey::Digest(digest),
                None => RecentKey::Shown(key.clone().into_owned()),
            };
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() == self.max_recent {
                recent.pop_front();
            }
            recent.push_back(Recent { key, decision: decision.clone(), at });
        }
        if callbacks.is_empty() || NOTIFYING.replace(true) {
            return;
        }
        let _notifying = Notifying;
        let violation = Violation::new(key.clone().into_owned(), digest, decision, at);
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
        let violation = |one: &Recent| {
            let key = match &one.key {
                RecentKey::Shown(key) => key.clone(),
                RecentKey::Digest(digest) => Key::from(digest_text(*digest)),
            };
            Violation::new(key, None, &one.decision, one.at)
        };
        recent.iter().map(violation).collect()
    }
}

impl Violation {
    fn new(key: Key<'static>, digest: Option<u64>, decision: &Decision, at: Micros) -> Self {
        Self {
            key,
            digest,
            rule: decision.rule().to_owned(),
            limit: decision.limit(),
            cost: decision.cost(),
            retry_after: decision.retry_after(),
            blocked: decision.is_blocked(),
            at: at.to_system_time(),
        }
    }

    fn written(&self) -> Written<'_> {
        let Self { key, rule, limit, cost, retry_after, blocked, at, digest } = self;
        Written {
            key: digest.map_or_else(|| key.to_token(), digest_text),
            rule,
            limit: *limit,
            cost: *cost,
            retry_after: *retry_after,
            blocked: *blocked,
            at: *at,
        }
    }
}

fn digest_text(digest: u64) -> String {
    format!("digest-{digest:016x}")
}

impl Serialize for Violation {
    /// Writes `retry_after` in seconds, and `at` in seconds since the Unix epoch.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written().serialize(serializer)
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { key, rule, limit, cost, retry_after, blocked, at } = self.written();
        f.debug_struct("Violation")
            .field("key", &key)
            .field("rule", &rule)
            .field("limit", &limit)
            .field("cost", &cost)
            .field("retry_after", &retry_after)
            .field("blocked", &blocked)
            .field("at", &at)
            .finish()
    }
}

impl fmt::Debug for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Violations").field("count", &self.count()).finish_non_exhaustive()
    }
}
