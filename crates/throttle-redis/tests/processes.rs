//! Processes that share one limit, to the last request.

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

/// Not a test of its own: what the processes below run.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the others run it in processes of its own"]
async fn child() {
    let url = env::var(URL).expect("a parent runs it");
    let rules: &'static [&'static str] = match &env::var(RULES).expect("a parent runs it")[..] {
        "one" => &["one"],
        "costs" => &["costs"],
        _ => &["one", "two"],
    };
    // What is counted is who passes: a machine that is busy elsewhere for a while fails no call.
    let builder = RedisStorage::builder(&url).response_timeout(Duration::from_secs(60));
    let storage = builder.connect().await.unwrap();
    let rules_known = [fixed("one", 10_000), fixed("two", 50_000), fixed("costs", 10_000).cost(7)];
    let tally = storm(&limiter(&storage, rules_known), "shared", rules, 64, 80).await;
    assert_eq!(tally.failed(), 0, "{:?}", tally.errors());
    println!("admitted={}", tally.admitted());
    println!("clock={}", SystemClock.now().get() / 1_000_000);
}

fn process(server: &Server, rules: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("a test knows itself"));
    command
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(URL, server.url())
        .env(RULES, rules)
        .stdout(Stdio::piped());
    command
}

/// What a process said when it had ended.
struct Said {
    admitted: u64,
    /// Its clock, in seconds since 1970.
    clock: u64,
}

fn end(child: Child) -> Said {
    let output = child.wait_with_output().expect("the process ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let number = |what: &str| {
        let rest = text.split(what).nth(1)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let (admitted, clock) = (number("admitted="), number("clock="));
    Said { admitted: admitted.expect("it says how many"), clock: clock.expect("it says when") }
}

/// Runs three processes of 64 tasks with 80 requests each, and says how many passed in all.
fn admitted(rules: &str) -> u64 {
    let server = Server::start();
    let spawn = |_| process(&server, rules).spawn().expect("a process starts");
    let children: Vec<_> = (0..3).map(spawn).collect();
    children.into_iter().map(|child| end(child).admitted).sum()
}

/// Returns the library that gives a process another clock (Debian: `libfaketime`).
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
    assert_eq!(right.admitted + fast.admitted, 10_000);
    assert!(right.admitted > 0 && fast.admitted > 0);
}

#[test]
fn three_processes_of_64_tasks_admit_exactly_the_limit() {
    assert_eq!(admitted("one"), 10_000);
}

#[test]
fn with_two_rules_at_once_exactly_the_lesser_limit() {
    assert_eq!(admitted("both"), 10_000);
}

#[test]
fn with_costs_exactly_as_many_as_fit() {
    assert_eq!(admitted("costs"), 10_000 / 7);
}
