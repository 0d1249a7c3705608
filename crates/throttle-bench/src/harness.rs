//! Rounds, medians and tables.

use std::{
    fmt::Write as _,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

/// Returns a description of the machine and the versions.
pub(crate) fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let lock = include_str!("../../../Cargo.lock");
    let mut text = format!("machine: {}, {cores} cores\nversions:", model.unwrap_or("unknown"));
    for name in [
        "governor",
        "tower_governor",
        "axum-governor",
        "limitador",
        "moka",
        "axum",
        "actix-web",
        "actix-extensible-rate-limit",
    ] {
        let entry = format!("name = \"{name}\"\nversion = \"");
        let version = lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next());
        let _ = write!(text, " {name} {}", version.unwrap_or("?"));
    }
    text
}

/// A variant in a comparison.
pub(crate) struct Variant<'a> {
    pub(crate) name: &'a str,
    /// Runs the operation a number of times and returns the nanoseconds of one.
    pub(crate) run: Box<dyn FnMut(usize) -> f64 + 'a>,
}

impl<'a> Variant<'a> {
    /// Creates a variant that runs in one thread.
    pub(crate) fn new(name: &'a str, mut once: impl FnMut(usize) + 'a) -> Self {
        let run = move |times: usize| {
            let start = Instant::now();
            (0..times).for_each(&mut once);
            start.elapsed().as_nanos() as f64 / times as f64
        };
        Self { name, run: Box::new(run) }
    }

    /// Creates a variant that runs in two threads; the nanoseconds are measured per thread.
    pub(crate) fn on_two_threads(name: &'a str, once: impl Fn(usize) + Sync + 'a) -> Self {
        let run = move |times: usize| {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (0..times).for_each(&once));
                }
            });
            start.elapsed().as_nanos() as f64 / times as f64
        };
        Self { name, run: Box::new(run) }
    }
}

/// Runs the variants alternately; returns the nanoseconds of each round, by variant.
pub(crate) fn run_alternately(
    variants: &mut [Variant<'_>],
    rounds: usize,
    times: usize,
) -> Vec<Vec<f64>> {
    for variant in &mut *variants {
        (variant.run)(times); // warm
    }
    let mut all = vec![Vec::with_capacity(rounds); variants.len()];
    for round in 0..rounds {
        for turn in 0..variants.len() {
            let i = (turn + round) % variants.len();
            let taken = (variants[i].run)(times);
            all[i].push(taken);
        }
    }
    all
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Polls a future that is ready immediately.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("memory answers immediately"),
    }
}
