//! The 64-bit path of a charge gives the same results as the general path.

use std::{num::NonZeroU64, sync::Arc};

use proptest::prelude::*;

use super::{
    Run,
    histories::{config, jumps, rules, starts},
};
use crate::{
    algorithm::{ChargeOutcome, Decided, State},
    rule::checked::CheckedRule,
    time::Micros,
};

fn in_single_steps(
    state: &mut State,
    rule: &CheckedRule,
    now: Micros,
    cost: u64,
) -> Result<ChargeOutcome, Decided> {
    state.advance(rule, now);
    match state.decide(rule, now, cost) {
        Decided::Allowed { delay } => {
            let receipt = state.charge(rule, now, cost);
            Ok(ChargeOutcome { delay, receipt, availability: state.availability(rule, now) })
        }
        denied => Err(denied),
    }
}

proptest! {
    #![proptest_config(config(6_000))]

    #[test]
    fn a_charge_in_one_pass_equals_its_single_steps(
        rules in (rules(), rules()), start in starts(), history in jumps(),
    ) {
        let lower = rules.0.fraction(1, NonZeroU64::MIN.saturating_add(1));
        let (first, second, lower) = (Arc::new(rules.0), Arc::new(rules.1), Arc::new(lower));
        let (mut run, mut charged) = (Run::new(&first, start), Vec::new());
        for (i, (to, cost)) in history.into_iter().enumerate() {
            // The rule is replaced, charges are refunded, and the clock moves in both directions.
            match i % 11 {
                4 => run.rule = Arc::clone(&lower),
                6 => run.rule = Arc::clone(&first),
                8 => run.rule = Arc::clone(&second),
                _ => {}
            }
            if i % 3 == 2 && !charged.is_empty() {
                // Others usually follow it.
                let (cost, receipt) = charged.remove(charged.len() / 2);
                run.refund(cost, Some(receipt));
            }
            run.go(to);
            let (cost, now) = (run.cost_of(cost), Micros::new(run.now));
            let (mut one, mut other) = (run.state.clone(), run.state.clone());
            let answer = one.advance_and_charge(&run.rule, now, cost);
            prop_assert_eq!(answer, in_single_steps(&mut other, &run.rule, now, cost));
            prop_assert_eq!(one, other);
            charged.extend(run.acquire(cost).receipt.map(|receipt| (cost, receipt)));
        }
    }
}
