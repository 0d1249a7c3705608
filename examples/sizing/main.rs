//! Simulates servers that share a limit by leases.
//!
//! The results are the calls to the storage and the early rejections, by number of servers and by batch size.
//!
//! `cargo run --release -p examples --features sizing --example sizing` takes half a minute, and 3 GB for the
//! fleets of 10,000 servers. It writes the results to `docs/pictures/sizing.csv`, draws
//! `docs/pictures/sizing_*.svg`, and prints the tables of `docs/sizing.md`.
//!
//! With the argument `flood`, a denied client floods servers with denial caches for 16 s, and the program writes no
//! files.
//!
//! The servers run the code of the limiter. Each has its own `Leases`, and all share one storage in memory that
//! counts its calls. The clock is manual. Each microsecond has at most one request, which goes to a random server.
//! The random numbers have a fixed seed, so that all runs give the same results.

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
    fleet::{Results, Setting, run},
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
    let results = run_all(&settings)?;
    let rows: Vec<_> = settings.into_iter().zip(results).collect();
    fs::write(path("sizing.csv"), to_csv(&rows)?)?;
    for (name, svg) in plot::pictures(&rows)? {
        fs::write(path(name), svg)?;
        println!("{}", path(name).display());
    }
    println!("{}", tables(&rows)?);
    Ok(())
}

/// Floods servers with requests of a denied client.
fn floods() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    for servers in [1, 10, 100, 1_000] {
        let flood = runtime.block_on(flood(servers, Duration::from_secs(4)))?;
        let seconds = flood.took.as_secs_f64();
        let (requests, calls) = (flood.requests as f64 / seconds, flood.calls as f64 / seconds);
        println!("{servers} servers: {requests:.0} requests and {calls:.0} calls per second");
    }
    Ok(())
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures")).join(name)
}

/// Returns a setting of the pictures: a limit of 400,000 per second, and a fifth more requests.
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

/// Returns a setting of the tables: a limit of 10,000 per second, and a load in percent.
pub(crate) fn small(algorithm: Algorithm, servers: u64, load: u64) -> Setting {
    Setting { algorithm, limit: 10_000, demand: 100 * load, windows: 2, ..of_fleets(servers, 5.0) }
}

fn settings() -> Vec<Setting> {
    let mut all = Vec::new();
    for servers in [1, 10, 30, 100, 300, 1_000, 3_000, 10_000] {
        // Servers that may not hold two permits call the storage for each request, which is slow to simulate.
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
            let remote = |load| Setting { round_trip, percent: Some(percent), ..counter(load) };
            all.extend([80, 200].map(remote));
        }
    }
    all
}

/// Runs all simulations on all cores, but the large fleets one at a time, to limit memory.
fn run_all(settings: &[Setting]) -> Result<Vec<Results>, Box<dyn Error>> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let large = Mutex::new(());
    let results = Mutex::new(vec![Err("not run".to_owned()); settings.len()]);
    let work = || {
        while let Some((i, setting)) = {
            let i = next.fetch_add(1, Relaxed);
            settings.get(i).map(|setting| (i, setting))
        } {
            let _alone = (setting.servers > 1_000)
                .then(|| large.lock().unwrap_or_else(PoisonError::into_inner));
            let result = run(setting, SEED).map_err(|error| format!("{setting:?}: {error}"));
            results.lock().unwrap_or_else(PoisonError::into_inner)[i] = result;
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(results.into_iter().collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::{tables::from_csv, *};

    fn stored() -> Vec<(Setting, Results)> {
        from_csv(&fs::read_to_string(path("sizing.csv")).unwrap()).unwrap()
    }

    #[test]
    fn the_pictures_in_the_guide_match_the_stored_results() {
        let rows = stored();
        let settings: Vec<_> = rows.iter().map(|(setting, _)| *setting).collect();
        assert_eq!(settings, super::settings());
        for (name, svg) in plot::pictures(&rows).unwrap() {
            let stored = fs::read_to_string(path(name)).unwrap();
            assert!(stored == svg, "{name}: run the example `sizing`");
        }
    }

    #[test]
    fn the_tables_in_the_guide_match_the_stored_results() {
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sizing.md");
        let guide = fs::read_to_string(guide).unwrap();
        for table in tables(&stored()).unwrap().split("\n\n") {
            assert!(guide.contains(table.trim()), "docs/sizing.md must contain:\n{table}");
        }
    }

    #[test]
    fn small_fleets_reproduce_the_stored_results() {
        let slow =
            |of: &Setting| !of.round_trip.is_zero() && of.round_trip != Duration::from_millis(80);
        let small = |of: &Setting| of.limit <= 10_000 && !slow(of);
        for (setting, results) in stored().into_iter().filter(|(of, _)| small(of)) {
            assert_eq!(
                run(&setting, SEED).unwrap(),
                results,
                "{setting:?}: run the example `sizing`"
            );
        }
    }

    #[test]
    fn early_rejections_are_within_the_lease_budget_and_a_request_needs_at_most_one_call() {
        for (setting, results) in stored() {
            let percent = setting.percent.unwrap();
            assert!(results.rejected_early() <= percent, "{setting:?}: {results:?}");
            if setting.round_trip.is_zero() {
                assert!(results.calls <= results.requests, "{setting:?}: {results:?}");
            }
        }
    }

    #[test]
    fn below_the_limit_a_call_fetches_half_of_the_allowance_and_one_more() {
        for (servers, percent) in [(1, 2.0), (10, 5.0), (10, 20.0), (50, 5.0)] {
            let setting = Setting {
                percent: Some(percent),
                ..super::small(Algorithm::FixedWindow, servers, 80)
            };
            let results = run(&setting, 2).unwrap();
            let calls = setting.demand as f64 / (setting.allowance() / 2 + 1) as f64;
            let measured = results.calls_per_second(&setting);
            assert!((0.75..1.25).contains(&(measured / calls)), "{measured} {calls} {setting:?}");
            assert_eq!(results.allowed, results.requests);
        }
    }

    #[test]
    fn no_fleet_allows_more_than_the_rule() {
        let algorithms =
            [Algorithm::FixedWindow, Algorithm::SlidingWindowCounter, Algorithm::TokenBucket];
        for (seed, algorithm) in algorithms.into_iter().enumerate() {
            let setting = Setting { percent: Some(20.0), ..super::small(algorithm, 10, 120) };
            run(&setting, seed as u64).unwrap(); // returns an error if it does
            let round_trip = Duration::from_millis(20);
            if algorithm != Algorithm::TokenBucket {
                run(&Setting { round_trip, ..setting }, seed as u64).unwrap();
            }
        }
    }

    #[test]
    fn another_seed_gives_similar_results() {
        let setting = super::small(Algorithm::TokenBucket, 10, 200);
        let (one, two) = (run(&setting, 3).unwrap(), run(&setting, 4).unwrap());
        assert_ne!(one, two);
        assert!(one.calls.abs_diff(two.calls) < one.calls / 4, "{one:?} {two:?}");
    }
}
