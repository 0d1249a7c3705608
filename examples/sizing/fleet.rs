//! The simulation: a fleet of servers with one limit. It runs the code of the limiter with a manual clock.

use std::{
    collections::BTreeMap,
    error::Error,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use ratethrottle::{
    Algorithm, Decision, Limiter, ManualClock, MemoryStorage, Rule,
    engine::Micros,
    resilience::{LeaseBudget, Leases},
};
use tokio::runtime;

use crate::counted::Counted;

/// The parameters of a simulation. All requests have the same key.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) struct Setting {
    pub(crate) algorithm: Algorithm,
    pub(crate) servers: u64,
    /// The share of the limit that leases may hold, in percent. Without leases each request calls the storage.
    pub(crate) percent: Option<f64>,
    pub(crate) limit: u64,
    /// The window, in seconds.
    pub(crate) window: u64,
    /// The requests per second to all servers.
    pub(crate) demand: u64,
    /// Whether a tenth of the servers gets half of the requests.
    pub(crate) skewed: bool,
    pub(crate) round_trip: Duration,
    /// The number of measured windows. One window precedes them, in which the servers estimate their rates; with a
    /// remote storage it is measured, too.
    pub(crate) windows: u64,
}

/// The results of a fleet, and of a single exact server for comparison.
#[derive(Copy, Clone, Default, PartialEq, Debug)]
pub(crate) struct Results {
    pub(crate) requests: u64,
    pub(crate) allowed: u64,
    pub(crate) exact: u64,
    /// The calls to the storage.
    pub(crate) calls: u64,
    /// The batches that leases fetched, and the permits in them.
    pub(crate) batches: u64,
    pub(crate) taken: u64,
    /// The requests that waited for a remote storage.
    pub(crate) waited: u64,
}

impl Setting {
    /// Returns the most permits that each server may hold.
    pub(crate) fn allowance(&self) -> u64 {
        self.percent
            .map_or(0, |percent| LeaseBudget::percent(percent).of(self.limit) / self.servers)
    }

    /// Returns whether the storage is remote, so that all windows are measured.
    fn is_remote(&self) -> bool {
        !self.round_trip.is_zero()
    }

    fn seconds(&self) -> f64 {
        ((self.windows + u64::from(self.is_remote())) * self.window) as f64
    }

    fn rule(&self) -> Rule {
        let window = Duration::from_secs(self.window);
        Rule::new("hot", self.limit, window).algorithm(self.algorithm)
    }
}

impl Results {
    /// Returns the calls to the storage per second.
    pub(crate) fn calls_per_second(&self, setting: &Setting) -> f64 {
        self.calls as f64 / setting.seconds()
    }

    /// Returns the percentage of requests that the fleet rejected although the exact server allowed them.
    pub(crate) fn rejected_early(&self) -> f64 {
        let early = self.exact.saturating_sub(self.allowed);
        if self.exact == 0 { 0.0 } else { 100.0 * early as f64 / self.exact as f64 }
    }

    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            allowed: self.allowed - before.allowed,
            exact: self.exact - before.exact,
            calls: self.calls - before.calls,
            batches: self.batches - before.batches,
            taken: self.taken - before.taken,
            waited: self.waited - before.waited,
        }
    }
}

struct Fleet {
    servers: Vec<(Limiter, Option<Leases>)>,
    storage: Counted,
    clock: ManualClock,
    /// An exact server, and a server that checks only the requests that the fleet allowed.
    exact: Limiter,
    bound: Limiter,
    requests: u64,
    exactly: u64,
    allowed: Arc<AtomicU64>,
    /// The number of allowed requests by the window that the storage charged.
    windows: Arc<Mutex<BTreeMap<Option<Micros>, u64>>>,
    waited: Arc<AtomicU64>,
}

/// Simulates a fleet.
///
/// # Errors
///
/// Returns an error if the fleet allows more than a single server would, or with a remote storage, if a window is
/// charged more than the limit.
pub(crate) fn run(setting: &Setting, seed: u64) -> Result<Results, Box<dyn Error>> {
    // Paused time advances only while all tasks are idle.
    let paused = runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    paused.block_on(simulate(setting, seed))
}

async fn simulate(setting: &Setting, seed: u64) -> Result<Results, Box<dyn Error>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut fleet = Fleet::new(setting)?;
    let second = 1_000_000;
    let window = setting.window * second;
    let start = 1_767_225_600 * second; // the start of a window
    let mut before = Results::default();
    for tick in 0..(setting.windows + 1) * window / 1_000 {
        if tick * 1_000 == window && !setting.is_remote() {
            before = fleet.results();
        }
        for at in tick * 1_000..(tick + 1) * 1_000 {
            if random.u64(..second) >= setting.demand {
                continue;
            }
            fleet.clock.set(Micros::new(start + at).to_system_time());
            let server = pick_server(setting, &mut random);
            match setting.is_remote() {
                true => fleet.send_remote(server)?,
                false => fleet.send(server)?,
            }
        }
        fleet.clock.set(Micros::new(start + (tick + 1) * 1_000).to_system_time());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(10 * setting.round_trip).await; // completes the calls in flight
    let results = fleet.results().since(before);
    fleet.check_windows(setting.limit)?;
    for (_, leases) in &fleet.servers {
        if let Some(leases) = leases {
            leases.close().await;
        }
    }
    Ok(results)
}

/// Picks a server for a request.
fn pick_server(setting: &Setting, random: &mut fastrand::Rng) -> usize {
    let busy = setting.servers.div_ceil(10);
    let of = if setting.skewed && random.bool() { busy } else { setting.servers };
    random.usize(..usize::try_from(of).unwrap_or(usize::MAX))
}

impl Fleet {
    fn new(setting: &Setting) -> Result<Self, Box<dyn Error>> {
        let clock = ManualClock::default();
        let storage = Counted::new(setting.round_trip);
        let alone = || -> Result<Limiter, Box<dyn Error>> {
            let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
            limiter.add_rule(setting.rule())?;
            Ok(limiter)
        };
        let server = |_| -> Result<_, Box<dyn Error>> {
            let leases = setting.percent.map(|percent| {
                let leases = Leases::new(storage.clone(), setting.servers);
                leases.rule("hot", LeaseBudget::percent(percent)).build()
            });
            let limiter = match &leases {
                Some(leases) => Limiter::builder(leases.clone()),
                None => Limiter::builder(storage.clone()),
            };
            let limiter = limiter.clock(clock.clone()).build();
            limiter.add_rule(setting.rule())?;
            Ok((limiter, leases))
        };
        let servers = (0..setting.servers).map(server).collect::<Result<_, _>>()?;
        let (exact, bound) = (alone()?, alone()?);
        let (requests, exactly, allowed, windows, waited) = Default::default();
        Ok(Self {
            servers,
            storage,
            clock,
            exact,
            bound,
            requests,
            exactly,
            allowed,
            windows,
            waited,
        })
    }

    /// Sends a request to a server whose storage replies at once.
    fn send(&mut self, server: usize) -> Result<(), Box<dyn Error>> {
        self.compare()?;
        if at_once(self.servers[server].0.check("key", "hot"))?.is_allowed() {
            self.allowed.fetch_add(1, Relaxed);
            if !at_once(self.bound.check("key", "hot"))?.is_allowed() {
                return Err("the fleet allowed more than the rule allows".into());
            }
        }
        Ok(())
    }

    /// Sends a request to a server with a remote storage.
    fn send_remote(&mut self, server: usize) -> Result<(), Box<dyn Error>> {
        self.compare()?;
        let limiter = self.servers[server].0.clone();
        let (allowed, windows) = (Arc::clone(&self.allowed), Arc::clone(&self.windows));
        let record = move |decision: Decision| {
            if decision.is_allowed() {
                allowed.fetch_add(1, Relaxed);
                let window = decision.receipt().map(|receipt| receipt.charged_at());
                let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
                *windows.entry(window).or_default() += 1;
            }
        };
        let mut check = Box::pin(async move { limiter.check("key", "hot").await });
        let first = check.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(decision) = first {
            record(decision?);
            return Ok(());
        }
        self.waited.fetch_add(1, Relaxed);
        tokio::spawn(async move {
            if let Ok(decision) = check.await {
                record(decision);
            }
        });
        Ok(())
    }

    /// Returns an error if a window was charged more than the limit.
    fn check_windows(&self, limit: u64) -> Result<(), Box<dyn Error>> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        match windows.iter().find(|(window, count)| window.is_none() || **count > limit) {
            Some(more) => Err(format!("a window was charged more than the limit: {more:?}").into()),
            None => Ok(()),
        }
    }

    fn compare(&mut self) -> Result<(), Box<dyn Error>> {
        self.requests += 1;
        let exact = at_once(self.exact.check("key", "hot"))?;
        self.exactly += u64::from(exact.is_allowed());
        Ok(())
    }

    fn results(&self) -> Results {
        let mut results = Results {
            requests: self.requests,
            allowed: self.allowed.load(Relaxed),
            exact: self.exactly,
            calls: self.storage.calls(),
            waited: self.waited.load(Relaxed),
            ..Results::default()
        };
        for (_, leases) in &self.servers {
            let Some(stats) = leases.as_ref().map(Leases::stats) else { continue };
            results.batches += stats.fetched;
            results.taken += stats.taken;
        }
        results
    }
}

/// Returns the decision of a storage that replies at once.
fn at_once(
    check: impl Future<Output = Result<Decision, ratethrottle::Error>>,
) -> Result<Decision, Box<dyn Error>> {
    match pin!(check).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(decision) => Ok(decision?),
        Poll::Pending => Err("the storage in memory did not reply at once".into()),
    }
}
