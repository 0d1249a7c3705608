//! Processes that lease one hot key of a real Redis, one of which is killed. They never allow more
//! than the limit in any window, and at most the lease budget less.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::limiter;
use throttle_core::{Algorithm, Rule};
use throttle_redis::RedisStorage;
use throttle_resilience::{LeaseBudget, Leases};
use throttle_testbed::Server;

const URL: &str = "RATETHROTTLE_TEST_URL";
const SECONDS: &str = "RATETHROTTLE_TEST_SECONDS";
const PROCESSES: u64 = 3;
const LIMIT: u64 = 20_000;
const PERCENT: u32 = 6;

/// Runs as a child process of the tests below. Each line is a window and the requests allowed in it
/// since the previous line, so that only the last moment of a killed process is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests in separate processes"]
async fn child() {
    let url = env::var(URL).expect("a parent runs it");
    let seconds: u64 = env::var(SECONDS).unwrap().parse().unwrap();
    let redis = RedisStorage::connect(&url).await.unwrap();
    let leases = Leases::new(redis, PROCESSES).rule("r", LeaseBudget::percent(PERCENT)).build();
    let rule = Rule::per_second("r", LIMIT).algorithm(Algorithm::FixedWindow);
    let limiter = limiter(leases.clone(), [rule]);
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..8)
        .map(|_| limiter.clone())
        .map(|limiter| {
            tokio::spawn(async move {
                while Instant::now() < end {
                    let mut allowed = BTreeMap::<Option<u64>, u64>::new();
                    let mut pause = false;
                    for _ in 0..50 {
                        let decision = limiter.check("hot", "r").await.unwrap();
                        if decision.is_allowed() {
                            // The window that was charged, by the clock of Redis.
                            let window =
                                decision.receipt().map(|receipt| receipt.charged_at().get());
                            *allowed.entry(window).or_default() += 1;
                        }
                        pause |= !decision.is_allowed();
                    }
                    for (window, allowed) in allowed {
                        println!("allowed {} {allowed}", window.expect("a window was charged"));
                    }
                    if pause {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    leases.close().await;
    let stats = leases.stats();
    println!("stats {stats:?}");
    assert!(stats.allowed > 10 * stats.fetched, "{stats:?}");
}

fn spawn(server: &Server, seconds: u64) -> Child {
    Command::new(env::current_exe().expect("the path of this test is known"))
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(URL, server.url())
        .env(SECONDS, seconds.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process starts")
}

#[expect(clippy::disallowed_methods, reason = "no executor runs here")]
fn run(seconds: u64) {
    let server = Server::start();
    let began = Instant::now();
    let mut children: Vec<_> = (0..PROCESSES).map(|_| spawn(&server, seconds)).collect();
    let readers: Vec<_> = children
        .iter_mut()
        .map(|child| {
            let output = BufReader::new(child.stdout.take().expect("it is piped"));
            thread::spawn(move || {
                let mut allowed = BTreeMap::<u64, u64>::new();
                for line in output.lines().map_while(Result::ok) {
                    // The harness of the tests may have begun the line.
                    if let Some((_, numbers)) = line.split_once("allowed ") {
                        let mut numbers = numbers.split(' ').filter_map(|n| n.parse().ok());
                        if let (Some(window), Some(count)) = (numbers.next(), numbers.next()) {
                            *allowed.entry(window).or_default() += count;
                        }
                    } else if line.contains("stats") {
                        println!("{line}");
                    }
                }
                allowed
            })
        })
        .collect();
    thread::sleep(Duration::from_secs(seconds) / 2);
    children[0].kill().expect("it can be killed"); // SIGKILL
    println!("one process is killed after {:?}", began.elapsed());
    let mut all = BTreeMap::<u64, u64>::new();
    for reader in readers {
        for (window, allowed) in reader.join().unwrap() {
            *all.entry(window).or_default() += allowed;
        }
    }
    for (number, mut child) in children.into_iter().enumerate() {
        let status = child.wait().expect("it ends");
        assert_eq!(
            status.success(),
            number != 0,
            "the first process was killed, the others succeeded"
        );
    }
    let most = *all.values().max().expect("some requests were allowed");
    let full: Vec<_> = all.values().copied().collect();
    println!("allowed in each second: {full:?}");
    assert!(most <= LIMIT, "{most} allowed in one second");
    // The first and the last window are not whole, and the machine may be too busy to use one up.
    let least = LIMIT - LeaseBudget::percent(PERCENT).of(LIMIT);
    let used_up = full.iter().filter(|allowed| **allowed >= least).count();
    assert!(most >= least, "the limit was not used up in any second: {full:?}");
    println!("{used_up} of {} seconds were used up to {PERCENT} %", full.len());
}

#[test]
fn three_processes_on_a_hot_key_one_of_them_killed() {
    run(5);
}

#[test]
#[ignore = "it takes a minute and both cores; scripts/test runs it alone"]
fn three_processes_on_a_hot_key_for_a_minute() {
    run(60);
}
