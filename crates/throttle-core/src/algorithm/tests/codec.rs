//! The binary format: states survive a round trip, and other bytes are rejected.

use proptest::prelude::*;

use super::{
    Run, YEAR_2026,
    histories::{Step, config, rules, starts, steps},
    rule_of,
};
use crate::{
    Algorithm, CheckedRule, MAX_LIMIT, MAX_LOG_LIMIT, Micros,
    algorithm::{
        state::{State, Usage},
        tag::{
            BLOCKED, BUCKET, FIXED_WINDOW, FLAGS, FREED_SLOTS, MIXED, RECEIPT_OFFSET,
            SLIDING_WINDOW_COUNTER, SLIDING_WINDOW_LOG, VACANT,
        },
    },
};

/// Returns the state after each step of a history.
fn states(rule: &CheckedRule, start: u64, steps: Vec<Step>) -> Vec<State> {
    let mut run = Run::new(rule, start);
    let mut all = vec![State::default()];
    for step in steps {
        run.now += run.span_of(step.wait);
        run.acquire(run.cost_of(step.cost));
        all.push(run.state.clone());
    }
    all
}

fn leb128(mut number: u128) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Returns a tag and numbers, which often are a valid state.
fn numbers() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        3 => 0..5_u128,
        1 => any::<u64>().prop_map(u128::from),
        1 => any::<u128>(),
        1 => Just(u128::from(u64::MAX)),
        1 => (0..128_u32).prop_map(|bits| 1 << bits),
    ];
    let flags = prop_oneof![Just(0), Just(RECEIPT_OFFSET), Just(FREED_SLOTS)];
    let block = prop_oneof![Just(0), Just(BLOCKED)];
    let tag = prop_oneof![
        4 => (0..=BUCKET, block.clone()).prop_map(|(number, block)| number | block),
        4 => (flags, block.clone()).prop_map(|(flag, block)| BUCKET | flag | block),
        1 => block.prop_map(|block| MIXED | block),
        1 => any::<u8>(),
    ];
    (tag, prop::collection::vec(number, 0..9)).prop_map(|(tag, numbers)| {
        let rest = numbers.into_iter().flat_map(leb128);
        std::iter::once(tag).chain(rest).collect()
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => numbers(), 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    #![proptest_config(config(3_000))]

    #[test]
    fn a_state_survives_a_round_trip(rule in rules(), start in starts(), steps in steps()) {
        for state in states(&rule, start, steps) {
            prop_assert_eq!(State::decode(&state.encode()), Ok(state));
        }
    }

    #[test]
    fn a_state_of_several_algorithms_survives_a_round_trip(
        rules in prop::collection::vec(rules(), 2..5), start in starts(), steps in steps(),
    ) {
        let mut run = Run::new(&rules[0], start);
        for (i, step) in steps.into_iter().enumerate() {
            run.rule = rules[i % rules.len()].clone().into();
            run.now += run.span_of(step.wait).min(1 << 50);
            run.acquire(run.cost_of(step.cost));
            prop_assert_eq!(State::decode(&run.state.encode()), Ok(run.state.clone()));
        }
    }

    #[test]
    fn truncated_or_extended_bytes_are_rejected(
        rule in rules(), start in starts(), steps in steps(), extra in any::<u8>(),
    ) {
        for state in states(&rule, start, steps) {
            let mut bytes = state.encode();
            for end in 0..bytes.len() {
                prop_assert!(State::decode(&bytes[..end]).is_err(), "{} of {:?}", end, bytes);
            }
            bytes.push(extra);
            prop_assert!(State::decode(&bytes).is_err(), "{:?}", bytes);
        }
    }
}

proptest! {
    #![proptest_config(config(5_000))]

    #[test]
    fn any_bytes_are_an_error_or_a_state_that_survives_a_round_trip(bytes in bytes()) {
        if let Ok(state) = State::decode(&bytes) {
            prop_assert_eq!(State::decode(&state.encode()), Ok(state));
        }
    }

    #[test]
    fn a_state_written_by_another_program_is_processed_without_a_panic(
        bytes in bytes(), rule in rules(), now in any::<u64>(), cost in any::<u64>(),
    ) {
        if let Ok(state) = State::decode(&bytes) {
            let mut run = Run { state, ..Run::new(&rule, now) };
            run.lifetime();
            for cost in [cost, 1, rule.capacity()] {
                prop_assert!(run.acquire(cost).remaining <= rule.capacity());
                run.lifetime();
            }
            prop_assert_eq!(State::decode(&run.state.encode()), Ok(run.state));
        }
    }
}

#[test]
fn a_length_beyond_the_bytes_is_rejected_before_any_allocation() {
    for len in [1, 2, 1_000, 1 << 40, u128::from(u64::MAX), u128::MAX] {
        for rest in [0, 1] {
            let mut bytes = vec![SLIDING_WINDOW_LOG, 0];
            bytes.extend(leb128(len));
            bytes.extend(vec![0; rest]);
            assert!(State::decode(&bytes).is_err(), "{len} entries in {rest} bytes");
        }
    }
}

#[test]
fn a_decoded_log_allocates_in_proportion_to_its_bytes() {
    let mut bytes = vec![SLIDING_WINDOW_LOG, 0];
    bytes.extend(leb128(1_000));
    bytes.extend([1, 1].repeat(1_000));
    let Usage::SlidingLog(log) = State::decode(&bytes).unwrap().usage else {
        panic!("the tag is that of a log");
    };
    assert_eq!((log.entries.len(), log.sum), (1_000, 1_000));
    assert!(log.entries.capacity() <= bytes.len(), "capacity {}", log.entries.capacity());
}

#[test]
fn a_number_of_too_many_bits_is_rejected() {
    let wide = |bits: u32| [vec![FIXED_WINDOW], leb128(1 << bits), vec![0, 0]].concat();
    assert!(State::decode(&wide(63)).is_ok());
    assert!(State::decode(&wide(64)).is_err());
    assert!(State::decode(&[vec![BUCKET], vec![0xff; 40]].concat()).is_err());
    assert!(State::decode(&[vec![BUCKET], vec![0x80; 1 << 20]].concat()).is_err());
}

#[test]
fn a_log_whose_costs_exceed_the_limit_in_total_is_rejected() {
    let log = |cost: u64| [vec![SLIDING_WINDOW_LOG, 0, 2, 5, 1, 5], leb128(cost.into())].concat();
    assert!(State::decode(&log(MAX_LOG_LIMIT - 1)).is_ok());
    for cost in [0, MAX_LOG_LIMIT, u64::MAX - 1, u64::MAX] {
        assert!(State::decode(&log(cost)).is_err(), "{cost}");
    }
}

#[test]
fn an_unknown_tag_is_rejected() {
    let is_known = |tag: u8| match tag & !BLOCKED {
        VACANT | FIXED_WINDOW | SLIDING_WINDOW_COUNTER | SLIDING_WINDOW_LOG | MIXED => true,
        rest => {
            rest & !(RECEIPT_OFFSET | FREED_SLOTS) == BUCKET && rest != BUCKET | FLAGS & !BLOCKED
        }
    };
    for tag in (0..=u8::MAX).filter(|tag| !is_known(*tag)) {
        let error = State::decode(&[tag, 0, 0, 0, 0, 0]).unwrap_err();
        assert!(error.to_string().contains("its tag is unknown"), "{tag}: {error}");
    }
    assert!(State::decode(&[]).unwrap_err().to_string().contains("it is empty"));
}

#[test]
fn a_counter_needs_few_bytes() {
    let rule = rule_of(Algorithm::default(), 100, 60_000_000);
    let mut run = Run::new(&rule, YEAR_2026);
    run.acquire_until_denied();
    assert!(run.state.encode().len() <= 16, "{:?}", run.state.encode());
}

#[test]
fn a_number_that_no_rule_can_cause_is_rejected() {
    let (most, span) = (u128::from(MAX_LIMIT), 1_000_000_000_000_000);
    let state = |tag: u8, numbers: &[u128]| {
        let numbers = numbers.iter().flat_map(|number| leb128(*number));
        State::decode(&[tag].into_iter().chain(numbers).collect::<Vec<_>>())
    };
    let minute = 60_000_000;
    for (tag, right, wrong) in [
        (FIXED_WINDOW, vec![1, most, span], vec![(1, most + 1), (2, span + 1)]),
        (
            SLIDING_WINDOW_COUNTER,
            vec![1, most, most, span],
            vec![(1, most + 1), (2, most + 1), (3, span + 1)],
        ),
        (SLIDING_WINDOW_LOG, vec![span, 1, 7, 1_000_000], vec![(0, span + 1), (3, 1_000_001)]),
        (FIXED_WINDOW | BLOCKED, vec![1, span, 1, 1, 1], vec![(1, span + 1)]),
        (
            BUCKET,
            vec![most * minute, 1, minute, most],
            vec![(0, (most + 2) * minute), (0, 1 << 127), (2, span + 1), (3, most + 1), (3, 1)],
        ),
        (
            BUCKET | RECEIPT_OFFSET,
            vec![minute, 1, minute, 1, most * minute, 1],
            vec![(4, most * minute + 1), (4, 1 << 127)],
        ),
        (
            BUCKET | FREED_SLOTS,
            vec![9 * minute, 1, minute, 1, 1, minute, minute],
            vec![(4, 0), (4, 17), (5, 9 * minute), (6, 0), (6, 1 << 127)],
        ),
    ] {
        assert!(state(tag, &right).is_ok(), "{tag}: {right:?}");
        for (place, number) in wrong {
            let mut numbers = right.clone();
            numbers[place] = number;
            assert!(state(tag, &numbers).is_err(), "{tag}: {numbers:?}");
        }
    }
}

#[test]
fn the_usage_of_another_algorithm_is_kept_exactly_until_it_expires() {
    const DAY: u64 = 86_400_000_000;
    for (other, lasts) in [
        (Algorithm::FixedWindow, DAY),
        (Algorithm::SlidingWindowCounter, 2 * DAY),
        (Algorithm::SlidingWindowLog, DAY),
        (Algorithm::TokenBucket, DAY / 4 * 3),
    ] {
        let algorithm = Algorithm::ALL.into_iter().find(|one| *one != other).unwrap();
        let mut run = Run::new(&rule_of(other, 4, DAY), YEAR_2026);
        assert!(run.acquire(3).allowed);
        let other_rule = std::mem::replace(&mut run.rule, rule_of(algorithm, 1, 1_000).into());
        assert!(run.acquire(1).allowed, "{other}: it has its own count");
        assert_eq!(run.lifetime(), Micros::new(lasts), "{other}");

        run.now = YEAR_2026 + lasts - 1;
        run.acquire(1);
        let mut back = Run { rule: other_rule, ..run.clone() };
        assert!(!back.acquire(4).allowed, "{other}: it is kept until it expires");
        run.now += 1;
        run.acquire(1);
        assert!(run.state.encode()[0] != MIXED && run.lifetime() <= Micros::new(2_000), "{other}");
    }
}
