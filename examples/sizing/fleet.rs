//! A fleet of servers under one limit: the limiter's own code, on a clock that the program moves.

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

/// Says what is simulated: one key, which all servers are asked for.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) struct Setting {
    pub(crate) algorithm: Algorithm,
    pub(crate) servers: u64,
    /// How many percent of the limit the servers may hold in leases; none where each request asks.
    pub(crate) percent: Option<f64>,
    pub(crate) limit: u64,
    /// In seconds.
    pub(crate) window: u64,
    /// Requests a second, all servers together.
    pub(crate) demand: u64,
    /// Whether half of the requests come to a tenth of the servers.
    pub(crate) skewed: bool,
    pub(crate) round_trip: Duration,
    /// How many windows are measured, after one in which the servers learn their rates; where the storage is
    /// far away that one is, too.
    pub(crate) windows: u64,
}

/// What a fleet did, and what one server would have done that counts each request.
#[derive(Copy, Clone, Default, PartialEq, Debug)]
pub(crate) struct Seen {
    pub(crate) asked: u64,
    pub(crate) admitted: u64,
    pub(crate) exact: u64,
    /// Calls of the storage.
    pub(crate) calls: u64,
    /// Batches that were taken, and the permits in them.
    pub(crate) batches: u64,
    pub(crate) taken: u64,
    /// Requests that waited for a storage that is far away.
    pub(crate) waited: u64,
}

impl Setting {
    /// Returns how much each server may hold.
    pub(crate) fn allowance(&self) -> u64 {
        self.percent
            .map_or(0, |percent| LeaseBudget::percent(percent).of(self.limit) / self.servers)
    }

    /// Returns whether answers come later, so that all is counted from the beginning on.
    fn is_far(&self) -> bool {
        !self.round_trip.is_zero()
    }

    fn seconds(&self) -> f64 {
        ((self.windows + u64::from(self.is_far())) * self.window) as f64
    }

    fn rule(&self) -> Rule {
        let window = Duration::from_secs(self.window);
        Rule::new("hot", self.limit, window).algorithm(self.algorithm)
    }
}

impl Seen {
    /// Returns calls of the storage in a second.
    pub(crate) fn calls_a_second(&self, setting: &Setting) -> f64 {
        self.calls as f64 / setting.seconds()
    }

    /// Returns the share of what one server would have admitted that the fleet refused, in percent.
    pub(crate) fn refused_early(&self) -> f64 {
        let early = self.exact.saturating_sub(self.admitted);
        if self.exact == 0 { 0.0 } else { 100.0 * early as f64 / self.exact as f64 }
    }

    fn since(self, before: Self) -> Self {
        Self {
            asked: self.asked - before.asked,
            admitted: self.admitted - before.admitted,
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
    /// One server that counts each request, and one that is asked for what the fleet admits.
    exact: Limiter,
    bound: Limiter,
    asked: u64,
    exactly: u64,
    admitted: Arc<AtomicU64>,
    /// How much was admitted of each window, by when the storage says that it began.
    windows: Arc<Mutex<BTreeMap<Option<Micros>, u64>>>,
    waited: Arc<AtomicU64>,
}

/// Simulates a fleet. It is an error if that admits one request more than one server would; where the
/// storage is far away, and answers come later, more than the limit of what a window was charged.
pub(crate) fn run(setting: &Setting, seed: u64) -> Result<Seen, Box<dyn Error>> {
    // Time stands still while anything runs, and goes on when all wait for it.
    let paused = runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    paused.block_on(simulate(setting, seed))
}

async fn simulate(setting: &Setting, seed: u64) -> Result<Seen, Box<dyn Error>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut fleet = Fleet::new(setting)?;
    let second = 1_000_000;
    let window = setting.window * second;
    let start = 1_767_225_600 * second; // a window begins
    let mut before = Seen::default();
    for tick in 0..(setting.windows + 1) * window / 1_000 {
        if tick * 1_000 == window && !setting.is_far() {
            before = fleet.seen();
        }
        for at in tick * 1_000..(tick + 1) * 1_000 {
            if random.u64(..second) >= setting.demand {
                continue;
            }
            fleet.clock.set(Micros::new(start + at).to_system_time());
            let server = whose(setting, &mut random);
            match setting.is_far() {
                true => fleet.ask_far(server)?,
                false => fleet.ask(server)?,
            }
        }
        fleet.clock.set(Micros::new(start + (tick + 1) * 1_000).to_system_time());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(10 * setting.round_trip).await; // what is on its way is answered
    let seen = fleet.seen().since(before);
    fleet.bound(setting.limit)?;
    for (_, leases) in &fleet.servers {
        if let Some(leases) = leases {
            leases.close().await;
        }
    }
    Ok(seen)
}

/// Says to which server a request comes.
fn whose(setting: &Setting, random: &mut fastrand::Rng) -> usize {
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
        let (asked, exactly, admitted, windows, waited) = Default::default();
        Ok(Self {
            servers,
            storage,
            clock,
            exact,
            bound,
            asked,
            exactly,
            admitted,
            windows,
            waited,
        })
    }

    /// Sends a request to a server whose storage answers at once.
    fn ask(&mut self, server: usize) -> Result<(), Box<dyn Error>> {
        self.compare()?;
        if at_once(self.servers[server].0.check("key", "hot"))?.is_allowed() {
            self.admitted.fetch_add(1, Relaxed);
            if !at_once(self.bound.check("key", "hot"))?.is_allowed() {
                return Err("more was admitted than the rule allows".into());
            }
        }
        Ok(())
    }

    /// Sends a request to a server whose storage is far away.
    fn ask_far(&mut self, server: usize) -> Result<(), Box<dyn Error>> {
        self.compare()?;
        let limiter = self.servers[server].0.clone();
        let (admitted, windows) = (Arc::clone(&self.admitted), Arc::clone(&self.windows));
        let note = move |decision: Decision| {
            if decision.is_allowed() {
                admitted.fetch_add(1, Relaxed);
                let window = decision.receipt().map(|receipt| receipt.charged_at());
                let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
                *windows.entry(window).or_default() += 1;
            }
        };
        let mut check = Box::pin(async move { limiter.check("key", "hot").await });
        let first = check.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(decision) = first {
            note(decision?);
            return Ok(());
        }
        self.waited.fetch_add(1, Relaxed);
        tokio::spawn(async move {
            if let Ok(decision) = check.await {
                note(decision);
            }
        });
        Ok(())
    }

    /// Returns an error if more was admitted of a window than the limit.
    fn bound(&self, limit: u64) -> Result<(), Box<dyn Error>> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        match windows.iter().find(|(window, count)| window.is_none() || **count > limit) {
            Some(more) => Err(format!("more was admitted than the limit: {more:?}").into()),
            None => Ok(()),
        }
    }

    fn compare(&mut self) -> Result<(), Box<dyn Error>> {
        self.asked += 1;
        let exact = at_once(self.exact.check("key", "hot"))?;
        self.exactly += u64::from(exact.is_allowed());
        Ok(())
    }

    fn seen(&self) -> Seen {
        let mut seen = Seen {
            asked: self.asked,
            admitted: self.admitted.load(Relaxed),
            exact: self.exactly,
            calls: self.storage.calls(),
            waited: self.waited.load(Relaxed),
            ..Seen::default()
        };
        for (_, leases) in &self.servers {
            let Some(figures) = leases.as_ref().map(Leases::stats) else { continue };
            seen.batches += figures.fetched;
            seen.taken += figures.taken;
        }
        seen
    }
}

/// Returns the answer of a storage that answers at once.
fn at_once(
    check: impl Future<Output = Result<Decision, ratethrottle::Error>>,
) -> Result<Decision, Box<dyn Error>> {
    match pin!(check).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Ok(answer?),
        Poll::Pending => Err("memory did not answer at once".into()),
    }
}
