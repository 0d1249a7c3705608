//! What is broken, at random, with times of calm between, and whether the service is back then.

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

/// So soon after a fault the shared storage decides again, but for what the machine is late.
const BACK: Duration = Duration::from_secs(1);
/// How long is waited for it at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// What can be broken between a server and Redis.
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
/// What can happen to Redis itself.
const OF_REDIS: [&str; 4] = ["Redis paused", "Redis killed", "scripts flushed", "Redis full"];

/// Counts faults by kind, and how long it took until the service was back.
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

    /// Returns how long it took at most, until the service was back.
    pub(crate) fn longest(&self) -> Duration {
        *self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Breaks things until the soak is over, and mends them.
pub(crate) async fn break_things(
    world: Arc<World>,
    broken: Arc<Broken>,
    mut random: fastrand::Rng,
) {
    loop {
        // Refusals are judged in the long ones.
        let calm = if random.u8(..5) == 0 { 14_000..20_000 } else { 500..3_000 };
        let calm = Duration::from_millis(random.u64(calm));
        let time = Duration::from_millis(random.u64(50..1_500));
        if Instant::now() + calm + time + BACK >= world.end {
            return; // it stays calm
        }
        tokio::time::sleep(calm).await;
        let start = clock::now();
        let ends = start + u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        world.tell(Event::Trouble { from: start, to: ends });
        let hit = if random.u8(..4) == 0 {
            break_redis(&world, &broken, time, &mut random).await;
            (0..world.nodes.len()).collect()
        } else {
            break_proxies(&world, &broken, time, &mut random).await
        };
        let mended = Instant::now();
        let mut waiting: Vec<_> = Vec::new();
        for number in hit {
            let (world, broken) = (Arc::clone(&world), Arc::clone(&broken));
            waiting.push(tokio::spawn(async move {
                is_back(&world, &world.nodes[number], &broken, mended).await;
            }));
        }
        for one in waiting {
            let _ = one.await; // a panic is counted by the hook
        }
        world.tell(Event::Trouble { from: start, to: clock::now() });
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
        world.nodes[*number].proxy.set(faults).await;
        ends_with_reset.push(resets);
    }
    tokio::time::sleep(time).await;
    for (number, reset) in hit.iter().zip(ends_with_reset) {
        world.nodes[*number].proxy.set(Faults { reset, ..Faults::default() }).await;
    }
    hit
}

/// Draws a fault, and whether it ends with a reset: what a slow line still has to bring is gone then, and
/// nothing hangs in a black hole any more.
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

async fn break_redis(
    world: &Arc<World>,
    broken: &Broken,
    time: Duration,
    random: &mut fastrand::Rng,
) {
    let kind = OF_REDIS[random.usize(..OF_REDIS.len())];
    broken.add(kind);
    let on_redis = |what: fn(&World)| {
        let world = Arc::clone(world);
        async move {
            let _ = tokio::task::spawn_blocking(move || what(&world)).await; // the hook counts panics
        }
    };
    match kind {
        "Redis paused" => {
            on_redis(|world| world.redis.pause()).await;
            tokio::time::sleep(time).await;
            on_redis(|world| world.redis.resume()).await;
        }
        "Redis killed" => {
            let from = clock::now();
            world.tell(Event::Lost { from, to: from });
            on_redis(|world| world.redis.kill()).await;
            tokio::time::sleep(time).await;
            on_redis(|world| world.redis.restart()).await;
            world.tell(Event::Lost { from, to: clock::now() });
        }
        "Redis full" => {
            on_redis(|world| drop(world.redis.command(&["CONFIG", "SET", "maxmemory", "1mb"])))
                .await;
            tokio::time::sleep(time).await;
            on_redis(|world| drop(world.redis.command(&["CONFIG", "SET", "maxmemory", "0"]))).await;
        }
        _ => on_redis(|world| drop(world.redis.command(&["SCRIPT", "FLUSH"]))).await,
    }
}

/// Waits until the shared storage decides for a server again, and says so if that takes too long.
async fn is_back(world: &World, node: &Node, broken: &Broken, mended: Instant) {
    while !node.is_served().await && mended.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (took, lag) = (mended.elapsed(), world.lag.since(mended));
    let mut longest = broken.longest.lock().unwrap_or_else(PoisonError::into_inner);
    *longest = longest.max(took);
    if took > BACK + lag {
        let (number, figures) = (node.number, node.storage.figures());
        let connections = node.redis.figures();
        world.wrong(format!(
            "server {number} was not served by Redis for {took:?} after the end of a fault, the machine \
             was late by {lag:?}: {figures:?} {connections:?}"
        ));
    }
}
