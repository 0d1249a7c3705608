//! Simulates servers that share a limit by leases: how often they call the storage, and what they refuse too
//! early, against their number and the size of their batches.
//!
//! `cargo run --release -p examples --features sizing --example sizing` takes half a minute and 3 GB for the
//! fleets of 10,000. It writes what it saw to `docs/pictures/sizing.csv`, draws it in
//! `docs/pictures/sizing_*.svg`, and prints the tables of `docs/sizing.md`.
//!
//! With the argument `flood` it lets a client that is denied flood servers with denials at hand, for 16 s,
//! and writes nothing.
//!
//! The servers are the limiter's own code: each has its `Leases`, all have one storage, in memory, which
//! counts its calls. Time is a clock that the program moves; in each microsecond comes a request or none,
//! and each goes to a server at random, all by a seed. So two runs see the same.

mod counted;
mod fleet;
mod flood;
mod plot;
mod tables;

use std::{
    error::Error,
    fs,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use ratethrottle::Algorithm;

use self::{
    fleet::{Seen, Setting, run},
    flood::flood,
    tables::{tables, to_csv},
};

const SEED: u64 = 1;
pub(crate) const PERCENTS: [f64; 5] = [1.0, 2.0, 5.0, 10.0, 20.0];

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().any(|argument| argument == "flood") {
        return floods();
    }
    let settings = settings();
    let seen = run_all(&settings)?;
    let rows: Vec<_> = settings.into_iter().zip(seen).collect();
    fs::write(path("sizing.csv"), to_csv(&rows)?)?;
    for (name, svg) in plot::pictures(&rows)? {
        fs::write(path(name), svg)?;
        println!("{}", path(name).display());
    }
    println!("{}", tables(&rows)?);
    Ok(())
}

/// Floods servers by one client that is denied.
fn floods() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    for servers in [1, 10, 100, 1_000] {
        let flood = runtime.block_on(flood(servers, Duration::from_secs(4)))?;
        let seconds = flood.took.as_secs_f64();
        let (requests, calls) = (flood.requests as f64 / seconds, flood.calls as f64 / seconds);
        println!("{servers} servers: {requests:.0} requests and {calls:.0} calls a second");
    }
    Ok(())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures")).join(name)
}

/// What is drawn: one key whose limit is 400,000 a second, and a fifth more requests.
pub(crate) fn of_fleets(servers: u64, percent: f64) -> Setting {
    Setting {
        algorithm: Algorithm::SlidingWindowCounter,
        servers,
        percent: Some(percent),
        limit: 400_000,
        window: 1,
        demand: 480_000,
        skewed: false,
        round_trip: Duration::ZERO,
        windows: 1,
    }
}

/// What the tables have: one key whose limit is 10,000 a second.
pub(crate) fn small(algorithm: Algorithm, servers: u64, load: u64) -> Setting {
    Setting { algorithm, limit: 10_000, demand: 100 * load, windows: 2, ..of_fleets(servers, 5.0) }
}

fn settings() -> Vec<Setting> {
    let mut all = Vec::new();
    for servers in [1, 10, 30, 100, 300, 1_000, 3_000, 10_000] {
        // Where none may hold two permits, each request asks, which many servers take long to show.
        let fleets = PERCENTS.map(|percent| of_fleets(servers, percent));
        all.extend(fleets.into_iter().filter(|of| servers <= 1_000 || of.allowance() >= 2));
    }
    let algorithms =
        [Algorithm::FixedWindow, Algorithm::SlidingWindowCounter, Algorithm::TokenBucket];
    for servers in [10, 100] {
        for algorithm in algorithms {
            all.extend([80, 200].map(|load| small(algorithm, servers, load)));
        }
        let counter = |load| small(Algorithm::SlidingWindowCounter, servers, load);
        all.extend([80, 200].map(|load| Setting { skewed: true, ..counter(load) }));
    }
    for millis in [2, 20, 80, 200] {
        let round_trip = Duration::from_millis(millis);
        let counter = |load| small(Algorithm::SlidingWindowCounter, 10, load);
        for percent in [5.0, 20.0] {
            let far = |load| Setting { round_trip, percent: Some(percent), ..counter(load) };
            all.extend([80, 200].map(far));
        }
    }
    all
}

/// Runs all on as many threads as there are cores, the great fleets one after the other.
fn run_all(settings: &[Setting]) -> Result<Vec<Seen>, Box<dyn Error>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let great = Mutex::new(());
    let seen = Mutex::new(vec![Err("not run".to_owned()); settings.len()]);
    let work = || {
        while let Some((place, setting)) = {
            let place = next.fetch_add(1, Relaxed);
            settings.get(place).map(|setting| (place, setting))
        } {
            let _alone = (setting.servers > 1_000)
                .then(|| great.lock().unwrap_or_else(PoisonError::into_inner));
            let answer = run(setting, SEED).map_err(|error| format!("{setting:?}: {error}"));
            seen.lock().unwrap_or_else(PoisonError::into_inner)[place] = answer;
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(seen.into_iter().collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::{tables::from_csv, *};

    fn kept() -> Vec<(Setting, Seen)> {
        from_csv(&fs::read_to_string(path("sizing.csv")).unwrap()).unwrap()
    }

    #[test]
    fn the_pictures_in_the_guide_are_those_of_the_figures_beside_them() {
        let rows = kept();
        let settings: Vec<_> = rows.iter().map(|(setting, _)| *setting).collect();
        assert_eq!(settings, super::settings());
        for (name, svg) in plot::pictures(&rows).unwrap() {
            let kept = fs::read_to_string(path(name)).unwrap();
            assert!(kept == svg, "{name}: run the example `sizing`");
        }
    }

    #[test]
    fn the_tables_in_the_guide_are_those_of_the_figures() {
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sizing.md");
        let guide = fs::read_to_string(guide).unwrap();
        for table in tables(&kept()).unwrap().split("\n\n") {
            assert!(guide.contains(table.trim()), "docs/sizing.md has not:\n{table}");
        }
    }

    #[test]
    fn the_small_fleets_do_today_what_the_figures_say() {
        let far =
            |of: &Setting| !of.round_trip.is_zero() && of.round_trip != Duration::from_millis(80);
        let small = |of: &Setting| of.limit <= 10_000 && !far(of);
        for (setting, seen) in kept().into_iter().filter(|(of, _)| small(of)) {
            assert_eq!(run(&setting, SEED).unwrap(), seen, "{setting:?}: run the example `sizing`");
        }
    }

    #[test]
    fn what_is_refused_too_early_is_within_the_accuracy_and_no_request_costs_more_than_a_call() {
        for (setting, seen) in kept() {
            let percent = setting.percent.unwrap();
            assert!(seen.refused_early() <= percent, "{setting:?}: {seen:?}");
            if setting.round_trip.is_zero() {
                assert!(seen.calls <= seen.asked, "{setting:?}: {seen:?}");
            }
        }
    }

    #[test]
    fn below_the_limit_a_call_brings_half_of_what_a_server_may_hold_and_one_more() {
        for (servers, percent) in [(1, 2.0), (10, 5.0), (10, 20.0), (50, 5.0)] {
            let setting = Setting {
                percent: Some(percent),
                ..super::small(Algorithm::FixedWindow, servers, 80)
            };
            let seen = run(&setting, 2).unwrap();
            let calls = setting.demand as f64 / (setting.allowance() / 2 + 1) as f64;
            let measured = seen.calls_a_second(&setting);
            assert!((0.75..1.25).contains(&(measured / calls)), "{measured} {calls} {setting:?}");
            assert_eq!(seen.admitted, seen.asked);
        }
    }

    #[test]
    fn no_fleet_admits_more_than_the_rule_allows() {
        let algorithms =
            [Algorithm::FixedWindow, Algorithm::SlidingWindowCounter, Algorithm::TokenBucket];
        for (seed, algorithm) in algorithms.into_iter().enumerate() {
            let setting = Setting { percent: Some(20.0), ..super::small(algorithm, 10, 120) };
            run(&setting, seed as u64).unwrap(); // it is an error
            let round_trip = Duration::from_millis(20);
            if algorithm != Algorithm::TokenBucket {
                run(&Setting { round_trip, ..setting }, seed as u64).unwrap();
            }
        }
    }

    #[test]
    fn another_seed_sees_nearly_the_same() {
        let setting = super::small(Algorithm::TokenBucket, 10, 200);
        let (one, two) = (run(&setting, 3).unwrap(), run(&setting, 4).unwrap());
        assert_ne!(one, two);
        assert!(one.calls.abs_diff(two.calls) < one.calls / 4, "{one:?} {two:?}");
    }
}
