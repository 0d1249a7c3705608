//! Processes that share a limit exactly.

mod common;

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use common::{fixed, limiter, storm};
use throttle_core::{Clock, SystemClock};
use throttle_redis::RedisStorage;
use throttle_testbed::Server;

const URL: &str = "RATETHROTTLE_TEST_URL";
const RULES: &str = "RATETHROTTLE_TEST_RULES";

/// Runs in the processes below, and is not a test by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests run it in separate processes"]
async fn child() {
    let url = env::var(URL).expect("a parent runs it");
    let rules: &'static [&'static str] = match &env::var(RULES).expect("a parent runs it")[..] {
        "one" => &["one"],
        "costs" => &["costs"],
        _ => &["one", "two"],
    };
    // A long timeout, so that no call fails on a busy machine: the test counts allowed requests.
    let builder = RedisStorage::builder(&url).response_timeout(Duration::from_secs(60));
    let storage = builder.connect().await.unwrap();
    let rules_known = [fixed("one", 10_000), fixed("two", 50_000), fixed("costs", 10_000).cost(7)];
    let tally = storm(&limiter(&storage, rules_known), "shared", rules, 64, 80).await;
    assert_eq!(tally.failed(), 0, "{:?}", tally.errors());
    println!("allowed={}", tally.allowed());
    println!("clock={}", SystemClock.now().get() / 1_000_000);
}

fn process(server: &Server, rules: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of the test is known"));
    command
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(URL, server.url())
        .env(RULES, rules)
        .stdout(Stdio::piped());
    command
}

/// The output of a process.
struct Report {
    allowed: u64,
    /// The clock of the process, in seconds since 1970.
    clock: u64,
}

fn end(child: Child) -> Report {
    let output = child.wait_with_output().expect("the process ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let number = |what: &str| {
        let rest = text.split(what).nth(1)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let (allowed, clock) = (number("allowed="), number("clock="));
    Report { allowed: allowed.expect("it prints a count"), clock: clock.expect("it prints a time") }
}

/// Runs three processes of 64 tasks with 80 requests each, and returns the number of allowed requests.
fn allowed(rules: &str) -> u64 {
    let server = Server::start();
    let spawn = |_| process(&server, rules).spawn().expect("a process starts");
    let children: Vec<_> = (0..3).map(spawn).collect();
    children.into_iter().map(|child| end(child).allowed).sum()
}

/// Returns the library that changes the clock of a process (Debian: `libfaketime`).
fn libfaketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut files = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    files.find(|file| file.exists())
}

#[test]
fn servers_whose_clocks_differ_by_an_hour_share_a_limit_exactly() {
    let Some(library) = libfaketime() else {
        eprintln!("skipped: libfaketime is not installed (Debian: apt-get install libfaketime)");
        return;
    };
    let server = Server::start();
    let right = process(&server, "one").spawn().expect("a process starts");
    let fast = process(&server, "one")
        .env("LD_PRELOAD", library)
        .env("FAKETIME", "+1h")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .spawn()
        .expect("a process starts");
    let (right, fast) = (end(right), end(fast));
    let apart = fast.clock - right.clock;
    assert!((3_500..3_700).contains(&apart), "the clocks are {apart} s apart");
    assert_eq!(right.allowed + fast.allowed, 10_000);
    assert!(right.allowed > 0 && fast.allowed > 0);
}

#[test]
fn three_processes_of_64_tasks_allow_exactly_the_limit() {
    assert_eq!(allowed("one"), 10_000);
}

#[test]
fn with_two_rules_they_allow_exactly_the_lower_limit() {
    assert_eq!(allowed("both"), 10_000);
}

#[test]
fn with_costs_they_allow_exactly_the_requests_that_fit() {
    assert_eq!(allowed("costs"), 10_000 / 7);
}
