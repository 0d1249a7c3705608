//! Random histories: the decisions of the storages match the model in every field.

use proptest::prelude::*;
use throttle_core::{Decisions, Rule};

use crate::{
    clients::Storages,
    exact::{self, Account, Answer},
    worlds::{config, cost, rules, starts, wait},
};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A random action of a client, as plain numbers.
type Step = (u8, u8, u16, u16);

/// Returns the indexes of the rules of a step, in order.
fn picked(number: u8, len: usize) -> Vec<usize> {
    let number = usize::from(number);
    let count = number % len + 1;
    let step = if number / 8 % 2 == 0 { 1 } else { len - 1 };
    (0..count).map(|i| (number / 16 + i * step) % len).collect()
}

fn answers(decisions: &Decisions) -> Vec<Answer> {
    decisions.all().iter().map(Answer::from).collect()
}

/// Returns the picked accounts, in order.
fn accounts_of<'a>(accounts: &'a mut [Account], picked: &[usize]) -> Vec<&'a mut Account> {
    let mut all: Vec<_> = accounts.iter_mut().map(Some).collect();
    picked.iter().map(|i| all[*i].take().expect("each is picked once")).collect()
}

fn replay(
    storages: &Storages,
    rules: &[Rule],
    start: u64,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let mut accounts: Vec<_> =
        rules.iter().map(|rule| Account::new(&rule.check().unwrap())).collect();
    let clients = storages.clients(rules);
    let (mut now, mut last) = (start, None);
    for (n, &(what, which, number_of_wait, number_of_cost)) in steps.iter().enumerate() {
        let picked = picked(which, rules.len());
        let names: Vec<_> = picked.iter().map(|i| NAMES[*i]).collect();
        let lead = &rules[picked[0]];
        now += wait(number_of_wait, lead, last);
        let cost = cost(number_of_cost, lead, last);
        clients.iter().for_each(|client| client.go(now));
        let mut accounts = accounts_of(&mut accounts, &picked);
        let (t, c) = (i128::from(now), i128::from(cost));
        let step = || format!("step {n}: cost {cost}, rules {names:?}, at {now}");
        match what % 16 {
            0 => {
                accounts[0].reset();
                clients.iter().for_each(|client| client.reset(names[0]));
            }
            1..4 => {
                let expected = exact::peek(&accounts, t, c);
                for client in &clients {
                    let decisions = client.peek(&names, cost);
                    prop_assert_eq!(answers(&decisions), &expected[..], "peek in {}", step());
                }
            }
            _ => {
                let expected = exact::acquire(&mut accounts, t, c);
                last = Some(exact::most_restrictive(&expected));
                for client in &clients {
                    let decisions = client.acquire(&names, cost);
                    prop_assert_eq!(answers(&decisions), &expected[..], "{}", step());
                    let all = expected.iter().all(|answer| answer.allowed);
                    prop_assert_eq!(decisions.is_allowed(), all, "{}", step());
                    prop_assert_eq!(
                        Some(decisions.most_restrictive().into()),
                        last,
                        "most_restrictive in {}",
                        step()
                    );
                    if what % 16 == 4 {
                        client.refund(&decisions);
                    }
                }
                if what % 16 == 4 && expected.iter().all(|answer| answer.allowed) {
                    accounts.iter_mut().for_each(|account| account.undo());
                }
            }
        }
    }
    Ok(())
}

fn named(rules: Vec<Rule>) -> Vec<Rule> {
    let name = |(rule, name): (Rule, &str)| {
        let checked = rule.check().unwrap();
        let mut named = Rule::new(name, checked.limit(), checked.window().into());
        if checked.capacity() != checked.limit() {
            named = named.burst(checked.capacity());
        }
        if let Some(block) = checked.block() {
            named = named.block(block.into());
        }
        named.algorithm(checked.algorithm())
    };
    rules.into_iter().zip(NAMES).map(name).collect()
}

#[test]
fn decisions_by_one_rule_match_the_model() {
    let storages = Storages::default();
    let worlds = (rules(), starts(), prop::collection::vec(any::<Step>(), 1..40));
    let mut runner = proptest::test_runner::TestRunner::new(config(2_000));
    let run = |(rule, start, steps): (Rule, u64, Vec<Step>)| {
        replay(&storages, &named(vec![rule]), start, &steps)
    };
    runner.run(&worlds, run).unwrap();
}

#[test]
fn decisions_by_several_rules_match_the_model() {
    let storages = Storages::default();
    let several = prop::collection::vec(rules(), 2..=3);
    let worlds = (several, starts(), prop::collection::vec(any::<Step>(), 1..40));
    let mut runner = proptest::test_runner::TestRunner::new(config(1_500));
    let run = |(rules, start, steps): (Vec<Rule>, u64, Vec<Step>)| {
        replay(&storages, &named(rules), start, &steps)
    };
    runner.run(&worlds, run).unwrap();
}
