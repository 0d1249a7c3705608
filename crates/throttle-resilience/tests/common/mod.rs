//! Helpers that several test files share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of it, and a test may panic"
)]

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{
    Algorithm, AtomicStorage, Decision, Error, Limiter, Reply, Rule, Scope, Storage, StorageCall,
    StorageError, Wrapper,
};
use throttle_memory::MemoryStorage;

/// Returns a rule whose window does not end during a test, except if the year does.
pub(crate) fn fixed(name: &str, limit: u64) -> Rule {
    Rule::new(name, limit, Duration::from_secs(365 * 86_400)).algorithm(Algorithm::FixedWindow)
}

pub(crate) fn limiter(storage: impl Storage, rules: impl IntoIterator<Item = Rule>) -> Limiter {
    let limiter = Limiter::new(storage);
    for rule in rules {
        limiter.add_rule(rule).unwrap();
    }
    limiter
}

/// The behavior of a storage.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Behaviour {
    AtOnce,
    /// Decides immediately, answers after a delay.
    Later(Duration),
    /// Does nothing, and reports it.
    Fails,
    /// Carries out the call, and loses the answer.
    LosesAnswers,
    /// Reports that the key's value is corrupt.
    Corrupt,
    /// Carries out the call, and never answers.
    Hangs,
    Panics,
}

/// A storage in memory whose behavior a test sets.
#[derive(Clone)]
pub(crate) struct FaultyStorage {
    pub(crate) memory: Arc<dyn AtomicStorage>,
    behaviour: Arc<Mutex<Behaviour>>,
    /// The behavior of refunds, if it differs.
    of_refunds: Arc<Mutex<Option<Behaviour>>>,
    calls: Arc<AtomicU64>,
}

impl FaultyStorage {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            memory: Arc::new(MemoryStorage::new()).atomic(),
            behaviour: Arc::new(Mutex::new(behaviour)),
            of_refunds: Arc::default(),
            calls: Arc::default(),
        }
    }

    pub(crate) fn be(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn refund(&self, behaviour: Behaviour) {
        *self.of_refunds.lock().unwrap() = Some(behaviour);
    }

    /// Returns the number of calls.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    fn behaviour(&self, call: StorageCall) -> Behaviour {
        let otherwise = *self.behaviour.lock().unwrap();
        match call {
            StorageCall::Refund => self.of_refunds.lock().unwrap().unwrap_or(otherwise),
            _ => otherwise,
        }
    }
}

impl Default for FaultyStorage {
    fn default() -> Self {
        Self::new(Behaviour::AtOnce)
    }
}

impl Wrapper for FaultyStorage {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.memory
    }

    fn around<T: Send + 'static>(
        &self,
        call: StorageCall,
        forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
    ) -> Reply<T> {
        if call == StorageCall::PermitsInUse {
            return forward(&self.memory);
        }
        self.calls.fetch_add(1, Relaxed);
        match self.behaviour(call) {
            Behaviour::AtOnce => forward(&self.memory),
            Behaviour::Later(time) => {
                let reply = forward(&self.memory);
                Reply::pending(async move {
                    tokio::time::sleep(time).await;
                    reply.await
                })
            }
            Behaviour::Fails => Reply::ready(Err(StorageError::not_carried_out("it is down"))),
            Behaviour::LosesAnswers => {
                drop(forward(&self.memory));
                Reply::ready(Err(StorageError::other("the answer is lost")))
            }
            Behaviour::Corrupt => Reply::ready(Err(StorageError::of_key("the key is corrupt"))),
            Behaviour::Panics => std::panic::resume_unwind(Box::new("in the storage")),
            Behaviour::Hangs => {
                drop(forward(&self.memory));
                Reply::pending(pending())
            }
        }
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn kind(&self) -> &str {
        "faulty"
    }
}

/// Returns how many of `requests` consecutive requests are allowed; errors do not count.
pub(crate) async fn count_allowed(
    limiter: &Limiter,
    key: &str,
    rule: &str,
    requests: usize,
) -> u64 {
    let mut allowed = 0;
    for _ in 0..requests {
        let answer = limiter.check(key, rule).await;
        allowed += u64::from(answer.is_ok_and(|decision| decision.is_allowed()));
    }
    allowed
}

/// The results of many requests.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) allowed: AtomicU64,
    pub(crate) degraded: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// The duration of each request.
    took: Mutex<Vec<Duration>>,
}

impl Tally {
    pub(crate) fn note(&self, began: Instant, answer: &Result<Decision, Error>) {
        self.took.lock().unwrap().push(began.elapsed());
        let count = match answer {
            Err(_) => &self.failed,
            Ok(decision) => {
                self.degraded.fetch_add(u64::from(decision.is_degraded()), Relaxed);
                if decision.is_allowed() { &self.allowed } else { &self.denied }
            }
        };
        count.fetch_add(1, Relaxed);
    }

    /// Returns a quantile of the durations, in thousandths.
    pub(crate) fn within(&self, of_a_thousand: usize) -> Duration {
        let mut took = self.took.lock().unwrap();
        took.sort();
        let place = (took.len() * of_a_thousand / 1_000).min(took.len().saturating_sub(1));
        took.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn line(&self, what: &str) -> String {
        let [allowed, degraded, denied, failed] =
            [&self.allowed, &self.degraded, &self.denied, &self.failed].map(|n| n.load(Relaxed));
        let [p50, p99, p999, most] = [500, 990, 999, 1_000].map(|n| self.within(n));
        format!(
            "{what}: {allowed} allowed, {denied} denied, {failed} failed, {degraded} degraded; \
             p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, most {most:?}"
        )
    }
}

/// Sends requests from several tasks for a while, each pausing for a millisecond between two
/// requests.
pub(crate) async fn load(limiter: &Limiter, key: &str, tasks: usize, time: Duration) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let end = Instant::now() + time;
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (limiter, key, tally) = (limiter.clone(), key.to_owned(), Arc::clone(&tally));
            tokio::spawn(async move {
                while Instant::now() < end {
                    let began = Instant::now();
                    tally.note(began, &limiter.check(&key, "r").await);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no request panics");
    }
    tally
}

/// Polls until a condition holds, and returns how long that took.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    most: Duration,
    mut ask: impl FnMut() -> F,
) -> Duration {
    let began = Instant::now();
    while !ask().await {
        assert!(began.elapsed() < most, "waited {most:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
