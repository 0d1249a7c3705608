//! What the tests of several files need.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each file of tests uses a part of it, and a test may panic"
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

/// A rule that no test sees the end of, unless the day ends meanwhile.
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

/// How a storage behaves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Behaviour {
    AtOnce,
    /// Decides at once, answers after a time.
    Later(Duration),
    /// Does nothing, and says so.
    Fails,
    /// Does it, and loses the answer.
    LosesAnswers,
    /// Says that the key is spoilt.
    Spoilt,
    /// Does it, and never answers.
    Hangs,
    Panics,
}

/// A storage in memory that behaves as a test says.
#[derive(Clone)]
pub(crate) struct Moody {
    pub(crate) memory: Arc<dyn AtomicStorage>,
    behaviour: Arc<Mutex<Behaviour>>,
    /// How refunds behave, if otherwise.
    of_refunds: Arc<Mutex<Option<Behaviour>>>,
    calls: Arc<AtomicU64>,
}

impl Moody {
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

    /// Returns how many calls there were.
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

impl Default for Moody {
    fn default() -> Self {
        Self::new(Behaviour::AtOnce)
    }
}

impl Wrapper for Moody {
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
            Behaviour::Spoilt => Reply::ready(Err(StorageError::of_key("the key is spoilt"))),
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
        "moody"
    }
}

/// Returns how many of so many requests pass, one after the other; an error is no pass.
pub(crate) async fn admitted(limiter: &Limiter, key: &str, rule: &str, requests: usize) -> u64 {
    let mut passed = 0;
    for _ in 0..requests {
        let answer = limiter.check(key, rule).await;
        passed += u64::from(answer.is_ok_and(|decision| decision.is_allowed()));
    }
    passed
}

/// What came of many requests.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) admitted: AtomicU64,
    pub(crate) degraded: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// How long each took.
    took: Mutex<Vec<Duration>>,
}

impl Tally {
    pub(crate) fn note(&self, began: Instant, answer: &Result<Decision, Error>) {
        self.took.lock().unwrap().push(began.elapsed());
        let count = match answer {
            Err(_) => &self.failed,
            Ok(decision) => {
                self.degraded.fetch_add(u64::from(decision.is_degraded()), Relaxed);
                if decision.is_allowed() { &self.admitted } else { &self.denied }
            }
        };
        count.fetch_add(1, Relaxed);
    }

    /// Returns the time within which so many of a thousand requests were answered.
    pub(crate) fn within(&self, of_a_thousand: usize) -> Duration {
        let mut took = self.took.lock().unwrap();
        took.sort();
        let place = (took.len() * of_a_thousand / 1_000).min(took.len().saturating_sub(1));
        took.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn line(&self, what: &str) -> String {
        let [admitted, degraded, denied, failed] =
            [&self.admitted, &self.degraded, &self.denied, &self.failed].map(|n| n.load(Relaxed));
        let [p50, p99, p999, most] = [500, 990, 999, 1_000].map(|n| self.within(n));
        format!(
            "{what}: {admitted} admitted, {denied} denied, {failed} failed, {degraded} degraded; \
             p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, most {most:?}"
        )
    }
}

/// Asks from several tasks for a while, each pausing for a millisecond between two requests.
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

/// Asks again until something is so, and says how long that took.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    most: Duration,
    mut ask: impl FnMut() -> F,
) -> Duration {
    let began = Instant::now();
    while !ask().await {
        assert!(began.elapsed() < most, "waited {most:?} for {what}, in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
