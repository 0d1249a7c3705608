//! Processes that share one limit, to the last request.

mod common;

use std::{
    env,
    process::{Child, Command, Stdio},
};

use common::{fixed, limiter, storm};
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
    let storage = RedisStorage::connect(&url).await.unwrap();
    let rules_known = [fixed("one", 10_000), fixed("two", 50_000), fixed("costs", 10_000).cost(7)];
    let tally = storm(&limiter(&storage, rules_known), "shared", rules, 64, 80).await;
    assert_eq!(tally.failed(), 0);
    println!("admitted={}", tally.admitted());
}

fn spawn(server: &Server, rules: &str) -> Child {
    Command::new(env::current_exe().expect("a test knows itself"))
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(URL, server.url())
        .env(RULES, rules)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process starts")
}

/// Runs three processes of 64 tasks with 80 requests each, and says how many passed in all.
fn admitted(rules: &str) -> u64 {
    let server = Server::start();
    let children: Vec<_> = (0..3).map(|_| spawn(&server, rules)).collect();
    let mut sum = 0;
    for child in children {
        let output = child.wait_with_output().expect("the process ends");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("it prints text");
        let number = text.split("admitted=").nth(1).expect("the child says how many");
        sum +=
            number.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).expect("a number");
    }
    sum
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
