//! A soak test: random rules, keys, costs, faults and rule changes against a real Redis, for a
//! given time. An oracle counts the allowed requests, and memory and descriptors are watched.
//!
//! It prints the seed of all random choices, and fails if any bound was violated.

mod bound;
mod changes;
mod clock;
mod faults;
mod lag;
mod load;
mod options;
mod oracle;
mod process;
mod report;
mod rules;
mod shared;
mod tally;
mod world;

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    faults::Broken,
    lag::Lag,
    options::Options,
    oracle::{Event, Oracle},
    process::Sample,
    world::{SERVERS, World},
};

/// The interval of samples of memory and descriptors.
const SAMPLED: Duration = Duration::from_millis(500);
/// The interval of progress lines.
const PROGRESS: Duration = Duration::from_secs(10);
/// The time within which 99.9 % of the calls must be answered, on a busy machine too.
const SLOW: Duration = Duration::from_secs(1);
/// The fewest allowed calls per second for a meaningful result.
const FEWEST: u64 = 50;

static PANICS: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("{what}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let (duration, topology) = (options.duration, options.topology);
    println!("soak: seed {seed}, for {duration:?}, on {}", topology.as_str());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Relaxed);
        hook(info);
    }));
    let runtime = tokio::runtime::Runtime::new().expect("the machine has threads");
    let violations = runtime.block_on(soak(seed, options));
    if violations.is_empty() {
        println!("soak: nothing was violated");
        return ExitCode::SUCCESS;
    }
    eprintln!("soak: FAILED with seed {seed}, {} violations:", violations.len());
    for what in violations.iter().take(20) {
        eprintln!("  {what}");
    }
    let (duration, topology) = (duration.as_secs(), topology.as_str());
    eprintln!("run it again: scripts/soak {duration}s --seed {seed} --topology {topology}");
    ExitCode::FAILURE
}

/// Runs a soak, prints a summary, and returns the violations.
async fn soak(seed: u64, options: Options) -> Vec<String> {
    let Options { duration, topology, .. } = options;
    let mut random = fastrand::Rng::with_seed(seed);
    let (events, received) = mpsc::channel();
    let lag = Arc::<Lag>::default();
    let world = World::start(&mut random, topology, duration, events, Arc::clone(&lag)).await;
    let world = Arc::new(world.expect("all drawn rules are valid"));
    let watching = tokio::spawn(async move { lag.watch().await });
    let (oracle, tally) = (Oracle::new(world.slots.clone(), SERVERS), Arc::clone(&world.tally));
    let judging = thread::spawn(move || oracle.run(&received, &tally));

    let broken = Arc::<Broken>::default();
    let breaking = faults::break_things(Arc::clone(&world), Arc::clone(&broken), random.fork());
    let breaking = tokio::spawn(breaking);
    let changing = tokio::spawn(changes::change(Arc::clone(&world), random.fork()));
    let sampling = tokio::spawn(sample(Arc::clone(&world)));
    load::load(Arc::clone(&world), &mut random).await;
    let _ = (breaking.await, changing.await); // the hook counts panics
    let samples = sampling.await.unwrap_or_default();
    watching.abort();

    world.send(Event::Over);
    let oracle = tokio::task::spawn_blocking(|| judging.join()).await;
    let oracle = oracle.expect("joining does not panic").expect("the oracle does not panic");
    for node in &world.nodes {
        node.storage.close().await;
    }
    print!("{}", report::summary(seed, &world, &broken, &oracle, &samples));
    let mut violations = oracle.violations;
    violations.extend(world.wrongs());
    violations.extend(process::grown(&samples));
    let (answered, panics) = (world.tally.within(999), PANICS.load(Relaxed));
    if answered > SLOW {
        violations
            .push(format!("99.9 % of the calls were answered within {answered:?}, not {SLOW:?}"));
    }
    if panics > 0 {
        violations.push(format!("{panics} panics, see the messages above"));
    }
    if oracle.judged.0 < duration.as_secs() * FEWEST {
        violations.push(format!("too few calls were judged: {:?}", oracle.judged));
    }
    violations
}

/// Samples the process until the soak is over, and prints progress lines.
async fn sample(world: Arc<World>) -> Vec<Sample> {
    let (began, mut samples, mut reported) = (Instant::now(), Vec::new(), Duration::ZERO);
    while !world.is_over() {
        tokio::time::sleep(SAMPLED).await;
        match Sample::take() {
            Ok(sample) => samples.push(sample),
            Err(error) => {
                world.wrong(format!("the process cannot be sampled: {error}"));
                return samples;
            }
        }
        if began.elapsed() >= reported + PROGRESS {
            reported += PROGRESS;
            report::line(reported, &world, samples[samples.len() - 1]);
        }
    }
    samples
}
