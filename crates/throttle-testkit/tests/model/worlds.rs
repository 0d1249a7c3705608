//! Random rules, waits and costs, from small to extreme.
//!
//! The values are computed from plain numbers, because unions of strategies are slow.

use std::time::Duration;

use proptest::prelude::*;
use throttle_core::{Algorithm, MAX_LIMIT, MAX_LOG_LIMIT, MAX_WINDOW, Rule};

use crate::exact::Answer;

pub(crate) const YEAR_2026: u64 = 1_767_225_600_000_000;
pub(crate) const YEAR_2200: u64 = 7_258_118_400_000_000;
const LONGEST: u64 = MAX_WINDOW.as_micros() as u64;

pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Returns rules of every algorithm, all with the same name.
pub(crate) fn rules() -> impl Strategy<Value = Rule> {
    (prop::sample::select(Algorithm::ALL.as_slice()), any::<(u32, u32, u32, u32)>()).prop_map(
        |(algorithm, (limit, window, burst, block))| {
            let log = algorithm == Algorithm::SlidingWindowLog;
            let limit = count(limit, if log { MAX_LOG_LIMIT } else { MAX_LIMIT });
            let window = span(window);
            let mut rule = Rule::new("r", limit, Duration::from_micros(window));
            if matches!(algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket)
                && burst % 2 == 0
            {
                let most = u128::from(limit) * u128::from(LONGEST) / u128::from(window);
                rule = rule.burst(count(burst / 2, most.min(u128::from(MAX_LIMIT)) as u64));
            }
            if block % 3 == 0 {
                rule = rule.block(Duration::from_micros(span(block / 3)));
            }
            rule.algorithm(algorithm)
        },
    )
}

/// Returns rules of an algorithm, without a block.
pub(crate) fn rules_of(algorithm: Algorithm) -> impl Strategy<Value = Rule> {
    any::<(u32, u32)>().prop_map(move |(limit, window)| {
        let log = algorithm == Algorithm::SlidingWindowLog;
        let limit = count(limit, if log { MAX_LOG_LIMIT } else { MAX_LIMIT });
        Rule::new("r", limit, Duration::from_micros(span(window))).algorithm(algorithm)
    })
}

fn count(number: u32, most: u64) -> u64 {
    let rest = u64::from(number / 8);
    let count = match number % 8 {
        0..5 => rest % 10 + 1,
        5 => rest * rest,
        6 => 1 << (rest % 50),
        _ => most,
    };
    count.clamp(1, most)
}

fn span(number: u32) -> u64 {
    let rest = u64::from(number / 8);
    match number % 8 {
        0..3 => 1_000 + rest % 2_000,
        3 => 1_000_000,
        4 => 3_600_000_000,
        5 => (rest * rest).clamp(1_000, LONGEST),
        6 => LONGEST - rest,
        _ => 1_000,
    }
}

/// Returns start times.
pub(crate) fn starts() -> impl Strategy<Value = u64> {
    prop_oneof![0..3_000_u64, Just(YEAR_2026), YEAR_2026..YEAR_2200]
}

/// Returns the wait before a request, given a random number, the rule and the last answer.
pub(crate) fn wait(number: u16, rule: &Rule, last: Option<Answer>) -> u64 {
    let rule = rule.check().unwrap();
    let part = u128::from(number / 16);
    let window = u128::from(rule.window().get());
    let wait = match number % 16 {
        0..4 => 0,
        4 => part,
        5 | 6 => window * (part % 1_500) / 1_000,
        7 => window * (part % 4),
        8..11 => window * part / 1_000 / u128::from(rule.limit()),
        _ => {
            let wait = last.map_or(0, |last| last.retry_after.unwrap_or(last.reset_after));
            (wait as u128 + part % 3).saturating_sub(1) // exactly, or one microsecond earlier or later
        }
    };
    wait as u64
}

/// Returns the cost of a request, given a random number, the rule and the last answer.
pub(crate) fn cost(number: u16, rule: &Rule, last: Option<Answer>) -> u64 {
    let capacity = rule.check().unwrap().capacity();
    let part = u64::from(number / 16);
    let cost = match number % 16 {
        0..5 => 1,
        5 => part,
        6 => u64::MAX >> (part % 64),
        7..9 => (u128::from(capacity) * u128::from(part % 1_200) / 1_000) as u64,
        9 => capacity,
        _ => last.map_or(capacity, |last| last.remaining as u64 + part % 2).min(capacity),
    };
    cost.max(1)
}
