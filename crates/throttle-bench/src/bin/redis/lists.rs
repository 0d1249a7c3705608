//! The effect of large, changing shared lists on the decisions of many instances.

use std::time::{Duration, Instant};

use throttle_core::{Algorithm, Limiter, SharedLists};
use throttle_redis::RedisStorage;
use throttle_testbed::Server;
use tokio::task::JoinHandle;

use crate::workload::{Run, limiter, median, rule, server_cpu, storage};

const ENTRIES: usize = 100_000;
const SERVERS: usize = 24;
const CHANGES_PER_SECOND: u32 = 5;
const ROUNDS: usize = 5;
const TASKS: usize = 4;
const TIMES: usize = 40_000;

pub(crate) async fn run() {
    println!(
        "\n{SERVERS} servers, {ENTRIES} entries of the shared deny list, {CHANGES_PER_SECOND} changes a \
         second; decisions by {TASKS} tasks, microseconds, median of {ROUNDS} rounds"
    );
    let server = Server::start();
    fill(&server);
    let mut storages = Vec::new();
    for _ in 0..SERVERS {
        storages.push(storage(&server, 1).await);
    }
    let [mut without, mut with] = [Table::default(), Table::default()];
    let mut loads = Vec::new();
    for _ in 0..ROUNDS {
        without.add(&server, &limiters(&storages)).await;

        let limiters = limiters(&storages);
        let began = Instant::now();
        let lists = subscribe(&limiters).await;
        loads.push(began.elapsed().as_secs_f64());
        let changes = change(lists);
        with.add(&server, &limiters).await;
        changes.abort();
        assert!(limiters.iter().all(|limiter| limiter.status().deny_list >= ENTRIES));
    }
    println!("| lists | mean | p50 | p99 | decisions a second | cores of Redis |");
    println!("| --- | --- | --- | --- | --- | --- |");
    without.print("none");
    with.print("100,000 entries");
    let ratio =
        |of: fn(&Table) -> &Vec<f64>| median(of(&with).clone()) / median(of(&without).clone());
    println!(
        "with by without: mean {:.2}, p50 {:.2}, p99 {:.2}; all servers read all entries in {:.1} s",
        ratio(|table| &table.mean),
        ratio(|table| &table.p50),
        ratio(|table| &table.p99),
        median(loads),
    );
}

/// The results of the rounds.
#[derive(Default)]
struct Table {
    mean: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    per_second: Vec<f64>,
    cores: Vec<f64>,
}

impl Table {
    async fn add(&mut self, server: &Server, limiters: &[Limiter]) {
        decide(limiters, TIMES / 10).await;
        let (began, used) = (Instant::now(), server_cpu(server));
        let run = decide(limiters, TIMES).await;
        let cores = (server_cpu(server) - used) / began.elapsed().as_secs_f64();
        self.mean.push(TASKS as f64 * 1e6 / run.per_second);
        self.p50.push(run.percentile(0.5));
        self.p99.push(run.percentile(0.99));
        self.per_second.push(run.per_second);
        self.cores.push(cores);
    }

    fn print(&self, name: &str) {
        let median = |of: &Vec<f64>| median(of.clone());
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {:.0} | {:.2} |",
            median(&self.mean),
            median(&self.p50),
            median(&self.p99),
            median(&self.per_second),
            median(&self.cores),
        );
    }
}

/// Adds the entries with a script: one by one through a limiter would take minutes.
fn fill(server: &Server) {
    let script = "for i = ARGV[1] + 1, ARGV[2] do
            redis.call('ZADD', KEYS[1], 'inf', 'key:denied:' .. i)
        end";
    for first in (0..ENTRIES).step_by(20_000) {
        let numbers = [first, (first + 20_000).min(ENTRIES)].map(|number| number.to_string());
        let key = "ratethrottle:{%lists}:deny";
        server.command(&["EVAL", script, "1", key, &numbers[0], &numbers[1]]);
    }
}

fn limiters(storages: &[RedisStorage]) -> Vec<Limiter> {
    storages.iter().map(|storage| limiter(storage, [rule(Algorithm::TokenBucket)])).collect()
}

async fn subscribe(limiters: &[Limiter]) -> Vec<SharedLists> {
    let tasks: Vec<_> = limiters
        .iter()
        .map(|limiter| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.shared_lists().await.expect("the lists are read") })
        })
        .collect();
    let mut lists = Vec::new();
    for task in tasks {
        lists.push(task.await.expect("no task panics"));
    }
    lists
}

/// Adds and removes entries, each time on another instance.
fn change(servers: Vec<SharedLists>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for (n, lists) in servers.iter().cycle().enumerate() {
            let entry = format!("changed:{}", n / 2);
            match n % 2 {
                0 => lists.deny(&entry).await.expect("it is added"),
                _ => drop(lists.remove_denied(&entry).await.expect("it is removed")),
            }
            tokio::time::sleep(Duration::from_secs(1) / CHANGES_PER_SECOND).await;
        }
    })
}

async fn decide(limiters: &[Limiter], times: usize) -> Run {
    let limiters = limiters.to_vec();
    Run::of(TASKS, times, move |i| {
        let limiter = limiters[i % limiters.len()].clone();
        async move {
            let key = format!("client-{:013}", i % 1_000);
            limiter.check(&key[..], "api").await.expect("decided");
        }
    })
    .await
}
