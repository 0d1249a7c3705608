//! What all tables measure with.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use throttle_core::{Algorithm, Limiter, Rule};
use throttle_redis::RedisStorage;
use throttle_testbed::Server;

/// Names the machine and the versions.
pub(crate) fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let redis = std::process::Command::new("redis-server").arg("--version").output();
    let redis = redis.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let redis = redis.unwrap_or_default();
    let version = redis.split_whitespace().nth(2).unwrap_or("?").to_owned();
    format!(
        "machine: {}, {cores} cores, load before {}\nRedis {version} on loopback",
        model.unwrap_or("unknown"),
        load.split(' ').next().unwrap_or("?"),
    )
}

/// Returns a rule that allows all measured requests.
pub(crate) fn rule(algorithm: Algorithm) -> Rule {
    let rule = match algorithm {
        // The largest limit in Redis, over a window in which no more requests arrive.
        Algorithm::SlidingWindowLog => Rule::new("api", 10_000, Duration::from_millis(1)),
        _ => Rule::per_hour("api", 100_000_000),
    };
    rule.algorithm(algorithm)
}

pub(crate) async fn storage(server: &Server, connections: usize) -> RedisStorage {
    RedisStorage::builder(&server.url())
        .max_connections(connections)
        .response_timeout(Duration::from_secs(30)) // a busy machine must not fail the run
        .connect()
        .await
        .expect("the server runs")
}

pub(crate) fn limiter(storage: &RedisStorage, rules: impl IntoIterator<Item = Rule>) -> Limiter {
    let limiter = Limiter::new(storage.clone());
    for rule in rules {
        limiter.add_rule(rule).expect("the rule is valid");
    }
    limiter
}

/// The results of tasks that repeat an operation.
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// In microseconds, sorted.
    latencies: Vec<f64>,
}

impl Run {
    /// Runs an operation `times` times in total, in a number of tasks.
    pub(crate) async fn of<F, Fut>(tasks: usize, times: usize, once: F) -> Self
    where
        F: Fn(usize) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let each = times / tasks;
        let start = Instant::now();
        let handles: Vec<_> = (0..tasks)
            .map(|task| {
                let once = once.clone();
                tokio::spawn(async move {
                    let mut latencies = Vec::with_capacity(each);
                    for i in 0..each {
                        let began = Instant::now();
                        once(task * each + i).await;
                        latencies.push(micros(began.elapsed()));
                    }
                    latencies
                })
            })
            .collect();
        let mut latencies = Vec::with_capacity(times);
        for handle in handles {
            latencies.append(&mut handle.await.expect("no task panics"));
        }
        let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
        latencies.sort_by(f64::total_cmp);
        Self { per_second, latencies }
    }

    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies[(last as f64 * share) as usize]
    }
}

fn micros(span: Duration) -> f64 {
    span.as_nanos() as f64 / 1000.0
}

/// Returns the value of a field of `INFO`.
pub(crate) fn info(server: &Server, section: &str, field: &str) -> String {
    let text = server.command(&["INFO", section]).to_string();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// Returns the CPU seconds that the server has used.
pub(crate) fn server_cpu(server: &Server) -> f64 {
    let of = |field| info(server, "cpu", field).parse::<f64>().unwrap_or(0.0);
    of("used_cpu_user") + of("used_cpu_sys")
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
