//! The most cost that is allowed in any interval, regardless of a client's behavior.

use proptest::prelude::*;
use throttle_core::{Algorithm, CheckedRule, Rule};

use crate::{
    clients::{Client, Storages},
    exact::Answer,
    worlds::{YEAR_2026, config, cost, rules_of, starts, wait},
};

/// The times and costs of allowed requests.
type Allowed = Vec<(u64, u64)>;

/// Returns the most cost that is allowed between two times that are `gap` < W apart, both included.
fn most(rule: &CheckedRule, gap: u64) -> u128 {
    let (n, w) = (u128::from(rule.limit()), u128::from(rule.window().get()));
    let refilled = n * u128::from(gap) / w;
    match rule.algorithm() {
        Algorithm::FixedWindow => 2 * n,
        Algorithm::SlidingWindowCounter => n + refilled,
        Algorithm::SlidingWindowLog => n,
        Algorithm::TokenBucket | Algorithm::LeakyBucket => u128::from(rule.capacity()) + refilled,
        other => panic!("add the bound of {other} here"),
    }
}

fn no_interval_exceeds_the_bound(
    rule: &CheckedRule,
    allowed: &Allowed,
) -> Result<(), TestCaseError> {
    let window = rule.window().get();
    for (i, (from, _)) in allowed.iter().enumerate() {
        let (mut sum, mut in_window) = (0_u128, 0_u128);
        for (to, cost) in allowed[i..].iter().take_while(|(to, _)| to - from < window) {
            sum += u128::from(*cost);
            let most = most(rule, to - from);
            prop_assert!(
                sum <= most,
                "{} allowed from {} to {}, the bound is {}",
                sum,
                from,
                to,
                most
            );
            if rule.algorithm() == Algorithm::FixedWindow && to / window == from / window {
                in_window += u128::from(*cost);
                prop_assert!(in_window <= rule.limit().into(), "{} allowed in a window", in_window);
            }
        }
    }
    Ok(())
}

/// Sends requests with random costs at random times.
fn random_client(client: &Client, rule: &Rule, start: u64, steps: &[(u16, u16)]) -> Allowed {
    let (mut now, mut last, mut allowed) = (start, None, Allowed::new());
    for (number_of_wait, number_of_cost) in steps {
        now += wait(*number_of_wait, rule, last);
        let cost = cost(*number_of_cost, rule, last);
        client.go(now);
        let decisions = client.acquire(&["r"], cost);
        last = Some(Answer::from(decisions.most_restrictive()));
        if decisions.is_allowed() {
            allowed.push((now, cost));
        }
    }
    allowed
}

/// Requests all that remains, as early as possible.
fn greedy_client(client: &Client, start: u64, rounds: usize) -> Allowed {
    let (mut now, mut allowed) = (start, Allowed::new());
    for _ in 0..rounds {
        client.go(now);
        let remaining = client.peek(&["r"], 1).most_restrictive().remaining();
        if remaining > 0 {
            assert!(
                client.acquire(&["r"], remaining).is_allowed(),
                "the remaining cost is allowed"
            );
            allowed.push((now, remaining));
        }
        let denial = client.acquire(&["r"], 1);
        now += denial.most_restrictive().retry_after().expect("the limit is used up").as_micros()
            as u64;
    }
    allowed
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
            let allowed = random_client(&client, &rule, start, &steps);
            no_interval_exceeds_the_bound(&checked, &allowed)?;
        }
        for client in storages.clients(std::slice::from_ref(&rule)) {
            let allowed = greedy_client(&client, start, 20);
            no_interval_exceeds_the_bound(&checked, &allowed)?;
        }
        Ok(())
    };
    proptest::test_runner::TestRunner::new(config(cases)).run(&worlds, run).unwrap();
}

#[test]
fn a_fixed_window_allows_the_limit_per_window_and_twice_the_limit_per_interval() {
    check(Algorithm::FixedWindow, 500);
}

#[test]
fn a_sliding_counter_allows_the_limit_and_its_share_in_any_interval() {
    check(Algorithm::SlidingWindowCounter, 500);
}

#[test]
fn a_log_allows_the_limit_in_any_interval() {
    check(Algorithm::SlidingWindowLog, 500);
}

#[test]
fn a_token_bucket_allows_the_burst_and_the_refill_in_any_interval() {
    check(Algorithm::TokenBucket, 500);
}

#[test]
fn a_policing_leaky_bucket_allows_the_burst_and_the_drain_in_any_interval() {
    check(Algorithm::LeakyBucket, 500);
}

#[test]
fn a_shaping_leaky_bucket_sends_one_and_the_drain_in_any_interval() {
    let storages = Storages::default();
    let waits = prop::collection::vec(any::<u16>(), 1..60);
    let worlds = (rules_of(Algorithm::LeakyBucket), starts(), waits);
    let run = |(rule, start, waits): (Rule, u64, Vec<u16>)| {
        let checked = rule.check().unwrap();
        let (n, w) = (u128::from(checked.limit()), u128::from(checked.window().get()));
        for client in storages.clients(std::slice::from_ref(&rule)) {
            let (mut now, mut last, mut times) = (start, None, Vec::new());
            for number in &waits {
                now += wait(*number, &rule, last);
                client.go(now);
                let decisions = client.acquire(&["r"], 1);
                let answer = Answer::from(decisions.most_restrictive());
                if answer.allowed {
                    times.push(now + answer.delay as u64);
                }
                last = Some(answer);
            }
            for (i, from) in times.iter().enumerate() {
                for (count, to) in (1_u128..).zip(&times[i..]) {
                    // The interval includes both microseconds.
                    let most = 1 + n * u128::from(to - from + 1) / w;
                    prop_assert!(count <= most, "{} sent, the bound is {}", count, most);
                }
            }
        }
        Ok(())
    };
    proptest::test_runner::TestRunner::new(config(500)).run(&worlds, run).unwrap();
}

#[test]
fn a_greedy_client_reaches_the_documented_bounds() {
    let storages = Storages::default();
    for (algorithm, most) in [
        (Algorithm::FixedWindow, 20),          // 2N, across an edge
        (Algorithm::SlidingWindowCounter, 19), // N + N·d/W, except the last, which is allowed after W
        (Algorithm::SlidingWindowLog, 10),     // N
        (Algorithm::TokenBucket, 19),          // B + N·d/W
        (Algorithm::LeakyBucket, 19),
    ] {
        let rule = Rule::per_second("r", 10).algorithm(algorithm);
        for client in storages.clients(std::slice::from_ref(&rule)) {
            let start = YEAR_2026 + 999_999; // the last microsecond of a window
            let allowed = greedy_client(&client, start, 40);
            let first = allowed.iter().take_while(|(at, _)| at - start < 1_000_000);
            assert_eq!(first.map(|(_, cost)| cost).sum::<u64>(), most, "{algorithm}");
        }
    }
}
