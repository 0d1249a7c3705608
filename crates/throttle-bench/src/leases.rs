//! A hot key that two processes share over one Redis, alternately with and without leases.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use throttle_core::{Algorithm, Key, Limiter, Rule};
use throttle_redis::RedisStorage;
use throttle_resilience::{DenialCache, LeaseBudget, Leases};
use throttle_testbed::Server;

use crate::harness::median;

/// The first argument of a child process; the others are the address, the variant and the
/// algorithm.
pub(crate) const CHILD: &str = "leases-child";

const PROCESSES: u64 = 2;
const LIMIT: u64 = 1_000_000;
const PERCENT: u32 = 5;
const TASKS: usize = 64;
const ROUNDS: usize = 5;
const WARM: Duration = Duration::from_millis(1_500);
const MEASURED: Duration = Duration::from_secs(3);
const VARIANTS: [&str; 3] = ["no leases", "leases", "leases and denial cache"];
const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::FixedWindow, Algorithm::SlidingWindowCounter, Algorithm::TokenBucket];

pub(crate) fn run() {
    println!(
        "\nleases: a hot key, {LIMIT} a second allowed, {PROCESSES} processes with {TASKS} tasks each, one \
         Redis; lease budget {PERCENT} %; per second, all processes together"
    );
    println!(
        "| algorithm | variant | decisions | allowed | calls of Redis | relative to no leases |\n\
         | --- | --- | --- | --- | --- | --- |"
    );
    for algorithm in ALGORITHMS {
        let mut rounds: [Vec<Results>; VARIANTS.len()] = Default::default();
        for round in 0..ROUNDS {
            for turn in 0..VARIANTS.len() {
                let i = (turn + round) % VARIANTS.len();
                rounds[i].push(measure(VARIANTS[i], algorithm));
            }
        }
        for (i, variant) in VARIANTS.into_iter().enumerate() {
            let of = |figure: fn(&Results) -> f64| median(rounds[i].iter().map(figure).collect());
            let ratios =
                rounds[i].iter().zip(&rounds[0]).map(|(own, bare)| own.decisions / bare.decisions);
            println!(
                "| {algorithm} | {variant} | {:.0} | {:.0} | {:.0} | {:.1} |",
                of(|one| one.decisions),
                of(|one| one.allowed),
                of(|one| one.calls),
                median(ratios.collect()),
            );
        }
    }
}

/// The results per second.
struct Results {
    decisions: f64,
    allowed: f64,
    calls: f64,
}

/// Runs separate processes for a while, over a separate Redis.
fn measure(variant: &str, algorithm: Algorithm) -> Results {
    let server = Server::start();
    let mut children: Vec<_> =
        (0..PROCESSES).map(|_| spawn(&server.url(), variant, algorithm)).collect();
    let mut lines: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().expect("it is piped")).lines())
        .collect();
    let mut told = |what: &str| -> Vec<String> {
        let next = lines.iter_mut().map(|lines| lines.next().and_then(Result::ok));
        next.map(|line| line.unwrap_or_else(|| panic!("a process ended before it {what}")))
            .collect()
    };
    told("was ready");
    for child in &mut children {
        let stdin = child.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"go\n").expect("the process waits for it");
    }
    told("was warm");
    server.command(&["CONFIG", "RESETSTAT"]);
    let counts = told("had counted");
    let calls = calls(&server) as f64 / MEASURED.as_secs_f64();
    let sum = |place: usize| -> f64 {
        let number = |line: &String| line.split(' ').nth(place)?.parse::<f64>().ok();
        counts.iter().filter_map(number).sum()
    };
    let results = Results { decisions: sum(0), allowed: sum(1), calls };
    for mut child in children {
        child.wait().expect("the process exits on its own");
    }
    results
}

fn spawn(url: &str, variant: &str, algorithm: Algorithm) -> Child {
    Command::new(std::env::current_exe().expect("the path of this program is known"))
        .args([CHILD, url, variant, algorithm.as_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process starts")
}

/// Returns the number of scripts that were run since the last reset of the statistics.
fn calls(server: &Server) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).to_string();
    let of = |line: &str| -> Option<u64> {
        let (_, rest) = line.split_once("cmdstat_evalsha:calls=")?;
        rest.split(',').next()?.parse().ok()
    };
    stats.lines().filter_map(of).sum()
}

/// Makes decisions as fast as possible, as one of the processes that [`run`] starts.
pub(crate) fn child(arguments: &[String]) {
    let [url, variant, algorithm] = arguments else { panic!("it is started by this program") };
    let algorithm = Algorithm::ALL.into_iter().find(|one| one.as_str() == algorithm);
    let rule = Rule::per_second("api", LIMIT).algorithm(algorithm.expect("an algorithm's name"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads start").block_on(async {
        let redis = RedisStorage::builder(url)
            .response_timeout(Duration::from_secs(30)) // a busy machine must not fail the run
            .connect()
            .await
            .expect("the server runs");
        let leases = || {
            Leases::new(redis.clone(), PROCESSES).rule("api", LeaseBudget::percent(PERCENT)).build()
        };
        let builder = match &variant[..] {
            "no leases" => Limiter::builder(redis),
            "leases" => Limiter::builder(leases()),
            _ => Limiter::builder(DenialCache::new(leases(), 100_000)),
        };
        let limiter = builder.recent_violations(0).build();
        limiter.add_rule(rule).expect("the rule is in range");
        decide(limiter).await;
    });
}

async fn decide(limiter: Limiter) {
    let wait_for_the_others = || {
        println!("ready");
        std::io::stdin().lines().next()
    };
    wait_for_the_others();
    let counts: Arc<[AtomicU64; 2]> = Arc::default();
    let over = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (limiter, counts, over) = (limiter.clone(), Arc::clone(&counts), Arc::clone(&over));
            tokio::spawn(async move {
                let key = Key::from("203.0.113.7");
                while !over.load(Relaxed) {
                    let mut allowed = 0;
                    for _ in 0..SLICE {
                        let decision = limiter.check(&key, "api").await.expect("decided");
                        allowed += u64::from(decision.is_allowed());
                    }
                    counts[0].fetch_add(SLICE, Relaxed);
                    counts[1].fetch_add(allowed, Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    tokio::time::sleep(WARM).await;
    let now = || [counts[0].load(Relaxed), counts[1].load(Relaxed)];
    let (began, before) = (Instant::now(), now());
    println!("warm");
    tokio::time::sleep(MEASURED).await;
    let (took, after) = (began.elapsed().as_secs_f64(), now());
    let [decisions, allowed] = [0, 1].map(|i| (after[i] - before[i]) as f64 / took);
    println!("{decisions:.0} {allowed:.0}");
    over.store(true, Relaxed);
    for task in tasks {
        task.await.expect("no task panics");
    }
}

/// The number of decisions counted at a time.
const SLICE: u64 = 16;
