//! Random faults with calm periods in between, and checks of the recovery.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use throttle_testbed::{Connect, Faults};

use crate::{
    clock,
    oracle::Event,
    world::{Node, World},
};

/// The time after a fault within which the shared storage must decide again, apart from the
/// machine's lag.
const BACK: Duration = Duration::from_secs(1);
/// The same after a failover to another Redis server.
const BACK_ELSEWHERE: Duration = Duration::from_secs(5);
/// The longest wait for the recovery.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The faults of the network between an instance and Redis.
const OF_A_PROXY: [&str; 10] = [
    "latency",
    "jitter",
    "hang",
    "held answers",
    "reset",
    "refused",
    "black hole",
    "bandwidth",
    "slow close",
    "cut answers",
];
/// Counts of faults by kind, and the longest recovery.
#[derive(Default, Debug)]
pub(crate) struct Broken {
    kinds: Mutex<BTreeMap<&'static str, u64>>,
    longest: Mutex<Duration>,
}

impl Broken {
    fn add(&self, kind: &'static str) {
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    pub(crate) fn kinds(&self) -> BTreeMap<&'static str, u64> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn took(&self, time: Duration) {
        let mut longest = self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = longest.max(time);
    }

    /// Returns the longest recovery.
    pub(crate) fn longest(&self) -> Duration {
        *self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Causes and ends faults until the soak is over.
pub(crate) async fn break_things(
    world: Arc<World>,
    broken: Arc<Broken>,
    mut random: fastrand::Rng,
) {
    loop {
        // Rejections are judged in the long calm periods.
        let calm = if random.u8(..5) == 0 { 14_000..20_000 } else { 500..3_000 };
        let calm = Duration::from_millis(random.u64(calm));
        let time = Duration::from_millis(random.u64(50..1_500));
        if Instant::now() + calm + time + BACK >= world.end {
            return; // it stays calm
        }
        tokio::time::sleep(calm).await;
        let start = clock::now();
        let ends = start + u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        world.send(Event::Trouble { from: start, to: ends });
        let has_proxies = world.nodes.iter().all(|node| node.proxy.is_some());
        let hit = if !has_proxies || random.u8(..4) == 0 {
            break_shared(&world, &broken, start, time, random.fork()).await;
            (0..world.nodes.len()).collect()
        } else {
            break_proxies(&world, &broken, time, &mut random).await
        };
        are_back(&world, &broken, hit).await;
        world.send(Event::Trouble { from: start, to: clock::now() });
    }
}

async fn break_proxies(
    world: &World,
    broken: &Broken,
    time: Duration,
    random: &mut fastrand::Rng,
) -> Vec<usize> {
    let mut hit: Vec<_> = (0..world.nodes.len()).collect();
    random.shuffle(&mut hit);
    hit.truncate(random.usize(1..=world.nodes.len()));
    let mut ends_with_reset = Vec::new();
    for number in &hit {
        let (kind, faults, resets) = draw(random);
        broken.add(kind);
        set(&world.nodes[*number], faults).await;
        ends_with_reset.push(resets);
    }
    tokio::time::sleep(time).await;
    for (number, reset) in hit.iter().zip(ends_with_reset) {
        set(&world.nodes[*number], Faults { reset, ..Faults::default() }).await;
    }
    hit
}

async fn set(node: &Node, faults: Faults) {
    if let Some(proxy) = &node.proxy {
        proxy.set(faults).await;
    }
}

/// Draws a fault, and whether it ends with a reset. A reset discards data that a slow connection
/// has not delivered, and frees connections that hang in a black hole.
fn draw(random: &mut fastrand::Rng) -> (&'static str, Faults, bool) {
    let nothing = Faults::default();
    let latency = Duration::from_millis(random.u64(5..200));
    let kind = OF_A_PROXY[random.usize(..OF_A_PROXY.len())];
    let (faults, must_reset) = match kind {
        "latency" => (Faults { latency, ..nothing }, false),
        "jitter" => (Faults { latency: latency / 4, jitter: latency, ..nothing }, false),
        "hang" => (Faults { hold_requests: true, ..nothing }, false),
        "held answers" => (Faults { hold_answers: true, ..nothing }, false),
        "reset" => (Faults { reset: true, ..nothing }, false),
        "refused" => (Faults { connect: Connect::Refuse, reset: true, ..nothing }, false),
        "black hole" => (Faults { connect: Connect::BlackHole, reset: true, ..nothing }, true),
        "bandwidth" => {
            let rate = random.u32(2_000..100_000);
            (Faults { bytes_per_second: Some(rate), ..nothing }, true)
        }
        "slow close" => (Faults { close_delay: latency, reset: random.bool(), ..nothing }, false),
        _ => (Faults { cut_answers_at: Some(random.usize(..20)), ..nothing }, false),
    };
    (kind, faults, must_reset || random.u8(..4) == 0)
}

/// Causes a fault of the shared storage. After a failover, clients must recover before the failed
/// server returns.
async fn break_shared(
    world: &Arc<World>,
    broken: &Arc<Broken>,
    start: u64,
    time: Duration,
    mut random: fastrand::Rng,
) {
    let kind = world.shared.draw(&mut random);
    broken.add(kind);
    send_loss(world, kind, start);
    let begun = {
        let world = Arc::clone(world);
        tokio::task::spawn_blocking(move || world.shared.begin(kind, &mut random)).await
    };
    send_loss(world, kind, start);
    let Ok(fault) = begun else { return }; // the hook counts panics
    if world.shared.is_replicated() {
        are_back(world, broken, (0..world.nodes.len()).collect()).await;
        world.send(Event::Trouble { from: start, to: clock::now() });
    }
    tokio::time::sleep(time).await;
    let ended = {
        let world = Arc::clone(world);
        tokio::task::spawn_blocking(move || world.shared.end(fault)).await
    };
    drop(ended); // the hook counts panics
    send_loss(world, kind, start);
}

fn send_loss(world: &World, kind: &str, from: u64) {
    if world.shared.loses(kind) {
        let to = clock::now();
        world.send(match world.shared.is_replicated() {
            true => Event::PartlyLost { from, to },
            false => Event::Lost { from, to },
        });
    }
}

/// Waits until the shared storage decides for the instances again.
async fn are_back(world: &Arc<World>, broken: &Arc<Broken>, hit: Vec<usize>) {
    let ended = Instant::now();
    let mut waiting: Vec<_> = Vec::new();
    for number in hit {
        let (world, broken) = (Arc::clone(world), Arc::clone(broken));
        waiting.push(tokio::spawn(async move {
            is_back(&world, &world.nodes[number], &broken, ended).await;
        }));
    }
    for one in waiting {
        let _ = one.await; // the hook counts panics
    }
}

/// Waits until the shared storage decides for an instance again, and records a violation if that
/// takes too long.
async fn is_back(world: &World, node: &Node, broken: &Broken, ended: Instant) {
    while !node.is_served().await && ended.elapsed() < TIMEOUT {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (took, lag) = (ended.elapsed(), world.lag.since(ended));
    broken.took(took);
    let back = if world.shared.is_replicated() { BACK_ELSEWHERE } else { BACK };
    if took > back + lag {
        let (number, stats) = (node.number, node.storage.stats());
        let connections = node.redis.stats();
        let answers = node.answers().await;
        world.wrong(format!(
            "server {number} was not served by Redis for {took:?} after the end of a fault, the machine \
             lagged by {lag:?}: {stats:?} {connections:?} {answers}"
        ));
    }
}
