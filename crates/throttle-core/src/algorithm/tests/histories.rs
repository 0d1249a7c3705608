//! Random rules and histories, small and extreme.
//!
//! Steps are generated from plain numbers, because unions of strategies would take most of a test's time.

use std::time::Duration;

use proptest::prelude::*;

use super::{YEAR_2026, YEAR_2200};
use crate::{Algorithm, CheckedRule, MAX_LIMIT, MAX_LOG_LIMIT, MAX_WINDOW, Rule};

const LONGEST: u64 = MAX_WINDOW.as_micros() as u64;

/// A distance by which the clock moves.
#[derive(Copy, Clone, Debug)]
pub(super) enum Wait {
    Micros(u64),
    /// Thousandths of a window.
    OfWindow(u64),
    /// Thousandths of the time in which one request of the limit becomes free.
    OfToken(u64),
    /// The wait of the last decision, plus or minus this much.
    Last(i64),
}

#[derive(Copy, Clone, Debug)]
pub(super) enum Cost {
    Exactly(u64),
    /// Thousandths of the capacity.
    OfCapacity(u64),
    /// The remaining amount plus this much.
    Remaining(u64),
}

#[derive(Copy, Clone, Debug)]
pub(super) struct Step {
    pub(super) wait: Wait,
    pub(super) cost: Cost,
}

/// A movement of the clock before a request.
#[derive(Copy, Clone, Debug)]
pub(super) enum Move {
    Forward(Wait),
    Back(Wait),
    To(u64),
}

pub(super) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Rules of every algorithm.
pub(super) fn rules() -> impl Strategy<Value = CheckedRule> {
    let blocks = prop::option::weighted(0.3, spans());
    (free_rules(), blocks).prop_map(|(rule, block)| {
        let rule = block.map_or(rule.clone(), |block| rule.block(Duration::from_micros(block)));
        rule.check().unwrap()
    })
}

/// Rules of every algorithm without a block.
pub(super) fn rules_without_block() -> impl Strategy<Value = CheckedRule> {
    free_rules().prop_map(|rule| rule.check().unwrap())
}

fn free_rules() -> impl Strategy<Value = Rule> {
    let algorithm = prop::sample::select(Algorithm::ALL.as_slice());
    let burst = prop::option::of(counts());
    (algorithm, counts(), spans(), burst).prop_map(|(algorithm, limit, window, burst)| {
        let log = algorithm == Algorithm::SlidingWindowLog;
        let limit = within(limit, if log { MAX_LOG_LIMIT } else { MAX_LIMIT });
        let rule = Rule::new("r", limit, Duration::from_micros(window)).algorithm(algorithm);
        match burst {
            Some(burst) if algorithm.is_bucket() => {
                let most = u128::from(limit) * u128::from(LONGEST) / u128::from(window);
                rule.burst(within(burst, most.min(u128::from(MAX_LIMIT)) as u64))
            }
            _ => rule,
        }
    })
}

fn within(number: u64, most: u64) -> u64 {
    if number <= most { number } else { 1 + number % most }
}

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1..=10_u64,
        2 => Just(7),
        1 => (0..50_u32).prop_map(|bits| 1 << bits),
        1 => 1..=MAX_LIMIT,
        1 => Just(MAX_LIMIT),
        1 => Just(MAX_LOG_LIMIT),
    ]
}

fn spans() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(1_000),
        2 => 1_000..3_000_u64,
        2 => prop::sample::select(vec![1_000_000, 60_000_000, 3_600_000_000]),
        1 => 1_000..=LONGEST,
        1 => Just(LONGEST),
    ]
}

/// Times to start at, with room for a history before the end of the microseconds.
pub(super) fn starts() -> impl Strategy<Value = u64> {
    prop_oneof![0..3_000_u64, Just(YEAR_2026), YEAR_2026..YEAR_2200]
}

/// Histories with a clock that only moves forwards.
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = any::<(u16, u16)>()
        .prop_map(|(wait, cost)| Step { wait: wait_of(wait), cost: cost_of(cost) });
    prop::collection::vec(step, 1..40)
}

/// Histories with a clock that jumps.
pub(super) fn jumps() -> impl Strategy<Value = Vec<(Move, Cost)>> {
    let jump = any::<(u8, u16, u16)>().prop_map(|(to, wait, cost)| {
        let to = match to % 8 {
            0..5 => Move::Forward(wait_of(wait)),
            5 | 6 => Move::Back(wait_of(wait)),
            _ => Move::To(match to / 8 % 4 {
                0 => wait.into(),
                1 => u64::MAX - u64::from(wait),
                2 => YEAR_2026 + u64::from(wait),
                _ => u64::from(wait) << 48 | u64::from(wait),
            }),
        };
        (to, cost_of(cost))
    });
    prop::collection::vec(jump, 1..40)
}

fn wait_of(number: u16) -> Wait {
    let part = u64::from(number / 16);
    match number % 16 {
        0..4 => Wait::Micros(0),
        4 => Wait::Micros(part),
        5 | 6 => Wait::OfWindow(part % 1_500),
        7 => Wait::OfWindow(1_000 * (part % 4)),
        8..11 => Wait::OfToken(part),
        _ => Wait::Last((part % 3) as i64 - 1),
    }
}

fn cost_of(number: u16) -> Cost {
    let part = u64::from(number / 16);
    match number % 16 {
        0..5 => Cost::Exactly(1),
        5 => Cost::Exactly(part),
        6 => Cost::Exactly(u64::MAX >> (part % 64)),
        7..9 => Cost::OfCapacity(part % 1_200),
        9 => Cost::OfCapacity(1_000),
        _ => Cost::Remaining(part % 2),
    }
}
