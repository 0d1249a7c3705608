//! The most that can pass in any stretch of time, whatever a client does.

use proptest::prelude::*;
use throttle_core::{Algorithm, CheckedRule, Rule};

use crate::{
    clients::{Client, Storages},
    exact::Answer,
    worlds::{YEAR_2026, config, cost, rules_of, starts, wait},
};

/// When requests passed, and what they cost.
type Passed = Vec<(u64, u64)>;

/// Returns the most that can pass from one moment to another that is `gap` < W later, both included.
fn most(rule: &CheckedRule, gap: u64) -> u128 {
    let (n, w) = (u128::from(rule.limit()), u128::from(rule.window().get()));
    let refilled = n * u128::from(gap) / w;
    match rule.algorithm() {
        Algorithm::FixedWindow => 2 * n,
        Algorithm::SlidingWindowCounter => n + refilled,
        Algorithm::SlidingWindowLog => n,
        Algorithm::TokenBucket | Algorithm::LeakyBucket => u128::from(rule.capacity()) + refilled,
        other => panic!("no bound is stated for {other}"),
    }
}

fn no_stretch_sees_more_than_the_most(
    rule: &CheckedRule,
    passed: &Passed,
) -> Result<(), TestCaseError> {
    let window = rule.window().get();
    for (i, (from, _)) in passed.iter().enumerate() {
        let (mut sum, mut in_window) = (0_u128, 0_u128);
        for (to, cost) in passed[i..].iter().take_while(|(to, _)| to - from < window) {
            sum += u128::from(*cost);
            let most = most(rule, to - from);
            prop_assert!(sum <= most, "{} passed from {} to {}, of {}", sum, from, to, most);
            if rule.algorithm() == Algorithm::FixedWindow && to / window == from / window {
                in_window += u128::from(*cost);
                prop_assert!(in_window <= rule.limit().into(), "{} in a window", in_window);
            }
        }
    }
    Ok(())
}

/// Comes at random, and asks for this and that.
fn random_client(client: &Client, rule: &Rule, start: u64, steps: &[(u16, u16)]) -> Passed {
    let (mut now, mut told, mut passed) = (start, None, Passed::new());
    for (number_of_wait, number_of_cost) in steps {
        now += wait(*number_of_wait, rule, told);
        let cost = cost(*number_of_cost, rule, told);
        client.go(now);
        let decisions = client.acquire(&["r"], cost);
        told = Some(Answer::from(decisions.most_restrictive()));
        if decisions.is_allowed() {
            passed.push((now, cost));
        }
    }
    passed
}

/// Takes all there is, at the first microsecond at which there is anything.
fn greedy_client(client: &Client, start: u64, turns: usize) -> Passed {
    let (mut now, mut passed) = (start, Passed::new());
    for _ in 0..turns {
        client.go(now);
        let there = client.peek(&["r"], 1).most_restrictive().remaining();
        if there > 0 {
            assert!(client.acquire(&["r"], there).is_allowed(), "what remains is admitted");
            passed.push((now, there));
        }
        let denial = client.acquire(&["r"], 1);
        now += denial.most_restrictive().retry_after().expect("it was emptied").as_micros() as u64;
    }
    passed
}

fn check(algorithm: Algorithm, cases: u32) {
    let storages = Storages::default();
    let steps = prop::collection::vec(any::<(u16, u16)>(), 1..60);
    let worlds = (rules_of(algorithm), any::<u16>(), starts(), steps);
    let run = |(rule, burst, start, steps): (Rule, u16, u64, Vec<(u16, u16)>)| {
        let bucket = matches!(algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket);
        let other = rule.clone().burst(u64::from(burst % 16) + 1);
        let rule = if bucket && burst % 2 == 0 && other.check().is_ok() { other } else { rule };
        let checked = rule.check().unwrap();
        for client in storages.clients(std::slice::from_ref(&rule)) {
            let passed = random_client(&client, &rule, start, &steps);
            no_stretch_sees_more_than_the_most(&checked, &passed)?;
        }
        for client in storages.clients(std::slice::from_ref(&rule)) {
            let passed = greedy_client(&client, start, 20);
            no_stretch_sees_more_than_the_most(&checked, &passed)?;
        }
        Ok(())
    };
    proptest::test_runner::TestRunner::new(config(cases)).run(&worlds, run).unwrap();
}

#[test]
fn no_window_of_a_fixed_window_sees_more_than_the_limit_and_no_stretch_more_than_twice() {
    check(Algorithm::FixedWindow, 500);
}

#[test]
fn no_stretch_of_a_sliding_counter_sees_more_than_the_limit_and_its_share_of_another() {
    check(Algorithm::SlidingWindowCounter, 500);
}

#[test]
fn no_window_wherever_it_begins_sees_more_than_the_limit_of_a_log() {
    check(Algorithm::SlidingWindowLog, 500);
}

#[test]
fn no_stretch_of_a_token_bucket_sees_more_than_the_burst_and_what_is_refilled() {
    check(Algorithm::TokenBucket, 500);
}

#[test]
fn no_stretch_of_a_leaky_bucket_that_polices_sees_more_than_the_burst_and_what_drains() {
    check(Algorithm::LeakyBucket, 500);
}

#[test]
fn no_stretch_behind_a_leaky_bucket_that_shapes_sees_more_than_one_and_what_drains() {
    let storages = Storages::default();
    let waits = prop::collection::vec(any::<u16>(), 1..60);
    let worlds = (rules_of(Algorithm::LeakyBucket), starts(), waits);
    let run = |(rule, start, waits): (Rule, u64, Vec<u16>)| {
        let checked = rule.check().unwrap();
        let (n, w) = (u128::from(checked.limit()), u128::from(checked.window().get()));
        for client in storages.clients(std::slice::from_ref(&rule)) {
            let (mut now, mut told, mut turns) = (start, None, Vec::new());
            for number in &waits {
                now += wait(*number, &rule, told);
                client.go(now);
                let decisions = client.acquire(&["r"], 1);
                let answer = Answer::from(decisions.most_restrictive());
                if answer.allowed {
                    turns.push(now + answer.delay as u64);
                }
                told = Some(answer);
            }
            for (i, from) in turns.iter().enumerate() {
                for (count, to) in (1_u128..).zip(&turns[i..]) {
                    // Both microseconds belong to the stretch.
                    let most = 1 + n * u128::from(to - from + 1) / w;
                    prop_assert!(count <= most, "{} turns, of {}", count, most);
                }
            }
        }
        Ok(())
    };
    proptest::test_runner::TestRunner::new(config(500)).run(&worlds, run).unwrap();
}

#[test]
fn a_greedy_client_gets_all_that_the_table_promises_and_no_less() {
    let storages = Storages::default();
    for (algorithm, most) in [
        (Algorithm::FixedWindow, 20),          // 2N, across an edge
        (Algorithm::SlidingWindowCounter, 19), // N + N·d/W, of which the last comes after W
        (Algorithm::SlidingWindowLog, 10),     // N
        (Algorithm::TokenBucket, 19),          // B + N·d/W
        (Algorithm::LeakyBucket, 19),
    ] {
        let rule = Rule::per_second("r", 10).algorithm(algorithm);
        for client in storages.clients(std::slice::from_ref(&rule)) {
            let start = YEAR_2026 + 999_999; // the last microsecond of a window
            let passed = greedy_client(&client, start, 40);
            let first = passed.iter().take_while(|(at, _)| at - start < 1_000_000);
            assert_eq!(first.map(|(_, cost)| cost).sum::<u64>(), most, "{algorithm}");
        }
    }
}
