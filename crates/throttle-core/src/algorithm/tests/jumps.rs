//! A clock that jumps causes no panic and denies no key permanently.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{
    Run, YEAR_2026,
    histories::{Move, config, jumps, rules},
    rule_of,
};
use crate::{Algorithm, Receipt, Rule};

impl Run {
    /// Moves the clock, and returns by how much it moved forwards.
    pub(super) fn go(&mut self, to: Move) -> u64 {
        let before = self.now;
        self.now = match to {
            Move::Forward(wait) => before.saturating_add(self.span_of(wait)),
            Move::Back(wait) => before.saturating_sub(self.span_of(wait)),
            Move::To(now) => now,
        };
        self.now.saturating_sub(before)
    }
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn a_clock_that_jumps_denies_no_key_for_longer_than_its_longest_lifetime(
        rule in rules(), start in any::<u64>(), history in jumps(),
    ) {
        let (mut run, longest) = (Run::new(&rule, start), rule.longest_lifetime());
        for (to, cost) in history {
            run.go(to);
            let verdict = run.acquire(run.cost_of(cost));
            prop_assert!(verdict.reset_after <= longest, "{:?}", verdict);
            prop_assert!(verdict.retry_after.is_none_or(|wait| wait <= longest), "{:?}", verdict);
            prop_assert!(verdict.delay <= longest, "{:?}", verdict);
            prop_assert!(run.lifetime() <= longest, "{:?}", run.state);
        }
    }

    #[test]
    fn no_history_makes_the_arithmetic_panic(
        all in prop::collection::vec(rules(), 1..4),
        start in any::<u64>(),
        history in jumps(),
        choices in prop::collection::vec(any::<u8>(), 40),
    ) {
        let mut run = Run::new(&all[0], start);
        let mut receipts: Vec<Option<Receipt>> = vec![None, Some(Receipt::default())];
        for ((to, cost), choice) in history.into_iter().zip(choices) {
            run.go(to);
            let choice = usize::from(choice);
            run.rule = Arc::new(all[choice / 4 % all.len()].clone()); // as replace_rule does
            let cost = run.cost_of(cost);
            if choice % 4 == 0 {
                run.refund(cost, receipts[choice % receipts.len()]);
            } else {
                receipts.extend(run.acquire(cost).receipt.map(Some));
            }
            prop_assert!(run.peek_at(run.now, 1).remaining <= run.rule.capacity());
            run.lifetime();
        }
    }
}

#[test]
fn a_step_back_restarts_a_block_but_does_not_extend_it() {
    let rule = Rule::per_second("r", 1).block(Duration::from_secs(60));
    let mut run = Run::new(&rule.check().unwrap(), YEAR_2026);
    run.acquire(1);
    run.acquire(1);
    run.now += 50_000_000;
    assert_eq!(run.acquire(1).retry_after.unwrap().get(), 10_000_000);
    run.now -= 20_000_000;
    assert_eq!(run.acquire(1).retry_after.unwrap().get(), 30_000_000);
    run.now -= 86_400_000_000;
    assert_eq!(run.acquire(1).retry_after.unwrap().get(), 60_000_000);
    run.now += 60_000_000;
    assert!(run.acquire(1).allowed);
}

#[test]
fn every_algorithm_works_at_the_largest_time() {
    for algorithm in Algorithm::ALL {
        let mut run = Run::new(&rule_of(algorithm, 3, 1_000_000), u64::MAX - 1);
        assert_eq!(run.acquire_until_denied(), 3, "{algorithm}");
        run.now = u64::MAX;
        assert!(!run.acquire(1).allowed, "{algorithm}");
    }
}
