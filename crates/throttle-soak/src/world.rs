//! A Redis and the instances that share limits in it, each behind its own proxy if the topology
//! allows one.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use throttle_core::{Error, Limiter, Rule};
use throttle_memory::MemoryStorage;
use throttle_redis::{RedisStorage, RedisStorageBuilder};
use throttle_resilience::{CircuitBreakerConfig, FailureMode, FailureModes, Resilience, Resilient};
use throttle_testbed::Proxy;

use crate::{
    lag::Lag,
    options::Topology,
    oracle::Event,
    rules::{Slot, draw_mode},
    shared::Shared,
    tally::Tally,
};

pub(crate) const SERVERS: usize = 4;
/// A rule whose limit is never reached, used to check whether the storage has recovered.
pub(crate) const PROBE: &str = "probe";
/// The number of probe keys: enough that every master of a cluster very likely has one.
const PROBES: usize = 8;

/// The state that all tasks of a soak share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shared: Shared,
    pub(crate) nodes: Vec<Node>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) lag: Arc<Lag>,
    pub(crate) end: Instant,
    events: mpsc::Sender<Event>,
    /// Violations that are visible at once, without the oracle.
    wrong: Mutex<Vec<String>>,
}

/// One of the instances that share the limits.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) limiter: Limiter,
    pub(crate) storage: Resilient,
    pub(crate) redis: RedisStorage,
    /// The failure modes, by the number of the rule.
    pub(crate) modes: Vec<FailureMode>,
}

impl World {
    /// Starts Redis and all instances.
    ///
    /// # Errors
    ///
    /// Returns an error if an instance rejects its rules.
    pub(crate) async fn start(
        random: &mut fastrand::Rng,
        topology: Topology,
        duration: Duration,
        events: mpsc::Sender<Event>,
        lag: Arc<Lag>,
    ) -> Result<Self, Error> {
        let shared = tokio::task::spawn_blocking(move || Shared::start(topology));
        let shared = shared.await.expect("Redis starts");
        let slots = Slot::draw_all(random);
        let mut nodes = Vec::new();
        for number in 0..SERVERS {
            let proxy = shared.proxy().await;
            let storage = shared.storage(proxy.as_ref());
            nodes.push(Node::start(number, proxy, storage, &slots, random)?);
        }
        let (tally, wrong) = (Arc::new(Tally::new()), Mutex::default());
        let end = Instant::now() + duration;
        Ok(Self { shared, nodes, slots, tally, lag, end, events, wrong })
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Sends an event to the oracle.
    pub(crate) fn send(&self, event: Event) {
        self.events.send(event).expect("the oracle receives until the last event");
    }

    /// Records a violation that is visible at once.
    pub(crate) fn wrong(&self, what: String) {
        eprintln!("soak: VIOLATION: {what}");
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Returns the violations so far, except those that the oracle found.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Node {
    fn start(
        number: usize,
        proxy: Option<Proxy>,
        redis: RedisStorageBuilder,
        slots: &[Slot],
        random: &mut fastrand::Rng,
    ) -> Result<Self, Error> {
        let redis = redis
            .key_prefix("soak:")
            .max_connections(random.usize(1..=4))
            .resp3(random.bool())
            .connect_timeout(Duration::from_millis(random.u64(200..400)))
            .response_timeout(Duration::from_millis(random.u64(150..400)))
            .connect_in_background()
            .expect("the options are in range");
        let modes: Vec<_> = slots.iter().map(|_| draw_mode(random)).collect();
        let storage = protected(&redis, slots, &modes, random);
        let limiter = Limiter::new(storage.clone());
        for slot in slots {
            limiter.add_rule(slot.rule.clone())?;
        }
        limiter.add_rule(Rule::per_second(PROBE, 1_000_000))?;
        Ok(Self { number, proxy, limiter, storage, redis, modes })
    }

    /// Returns Redis's answer to each probe, without any wrapper.
    pub(crate) async fn answers(&self) -> String {
        let limiter = Limiter::new(self.redis.clone());
        let mut answers = Vec::new();
        if let Err(error) = limiter.add_rule(Rule::per_second(PROBE, 1_000_000)) {
            answers.push(error.to_string());
        }
        for part in 0..PROBES {
            let key = format!("node {} {part}", self.number);
            answers.push(match limiter.check(&key, PROBE).await {
                Ok(_) => "an answer".to_owned(),
                Err(error) => error.to_string(),
            });
        }
        answers.join("; ")
    }

    /// Returns whether the shared storage decides.
    pub(crate) async fn is_served(&self) -> bool {
        for part in 0..PROBES {
            let key = format!("node {} {part}", self.number);
            let decision = self.limiter.check(&key, PROBE).await;
            if !decision.is_ok_and(|decision| !decision.is_degraded()) {
                return false;
            }
        }
        true
    }
}

fn protected(
    redis: &RedisStorage,
    slots: &[Slot],
    modes: &[FailureMode],
    random: &mut fastrand::Rng,
) -> Resilient {
    let circuit = CircuitBreakerConfig::new()
        .window_size(random.usize(40..200))
        .failure_rate(0.2 + 0.4 * random.f64())
        .open_duration(Duration::from_millis(random.u64(50..250)));
    let by_rule = slots.iter().zip(modes);
    let modes = FailureModes::local(MemoryStorage::new(), SERVERS as u64)
        .otherwise(FailureMode::FailClosed);
    let modes = by_rule.fold(modes, |modes, (slot, mode)| modes.rule(&slot.name, *mode));
    let mut storage = Resilience::new(redis.clone())
        .deadline(Duration::from_millis(random.u64(50..150)))
        .breaker(circuit)
        .instances(SERVERS as u64)
        .failure_modes(modes);
    for slot in slots {
        if let Some(lease_budget) = slot.lease_budget() {
            storage = storage.lease(&slot.name, lease_budget);
        }
    }
    if random.bool() {
        storage = storage.denial_cache(random.usize(100..10_000));
    }
    storage.build()
}
