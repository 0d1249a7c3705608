//! Tests of states under arbitrary histories: decisions, bounds and the binary format.

mod bounds;
mod codec;
mod exactness;
mod histories;
mod jumps;
mod one_pass;
mod refunds;

use std::{sync::Arc, time::Duration};

use self::histories::{Cost, Wait};
use super::State;
use crate::{
    Algorithm, Charge, CheckedRule, Key, Micros, Receipt, Refund, Rule, Verdict, acquire, peek,
    refund,
};

#[test]
fn an_algorithm_is_parsed_from_its_name_and_the_error_lists_all_names() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        let json = serde_json::to_string(&algorithm).unwrap();
        assert_eq!(json, format!("\"{algorithm}\""), "configuration and JSON use the same name");
    }
    for name in ["", "Token_Bucket", "token bucket", &"x".repeat(70_000)] {
        let error = name.parse::<Algorithm>().unwrap_err().to_string();
        assert!(Algorithm::ALL.iter().all(|one| error.contains(one.as_str())), "{error}");
        assert!(error.len() < 400);
    }
}

/// The start of 2026: a boundary of every window that divides a day.
const YEAR_2026: u64 = 1_767_225_600_000_000;
const YEAR_2200: u64 = 7_258_118_400_000_000;

/// A simulation of one key under one rule, with the time.
#[derive(Clone)]
struct Run {
    rule: Arc<CheckedRule>,
    state: State,
    now: u64,
    last: Verdict,
}

impl Run {
    fn new(rule: &CheckedRule, now: u64) -> Self {
        let rule = Arc::new(rule.clone());
        Self { rule, state: State::default(), now, last: Verdict::default() }
    }

    fn acquire(&mut self, cost: u64) -> Verdict {
        let key = Key::from("k");
        let charge = Charge::new(&key, &self.rule, cost);
        self.last = acquire(&[charge], Micros::new(self.now), &mut self.state).verdicts()[0];
        self.last
    }

    /// Makes requests until one is denied, and returns how many were allowed.
    fn acquire_until_denied(&mut self) -> u64 {
        let mut allowed = 0;
        while self.acquire(1).allowed {
            allowed += 1;
        }
        allowed
    }

    /// Returns the decision at another time, without changing the state.
    fn peek_at(&self, now: u64, cost: u64) -> Verdict {
        let (key, mut state) = (Key::from("k"), self.state.clone());
        let charge = Charge::new(&key, &self.rule, cost);
        peek(&[charge], Micros::new(now), &mut state).verdicts()[0]
    }

    fn refund(&mut self, cost: u64, receipt: Option<Receipt>) {
        let key = Key::from("k");
        let owed = Refund::new(Charge::new(&key, &self.rule, cost), receipt);
        refund(&owed, Micros::new(self.now), &mut self.state);
    }

    fn lifetime(&self) -> Micros {
        self.state.lifetime(&self.rule, Micros::new(self.now))
    }

    /// Returns the number of microseconds of a wait.
    fn span_of(&self, wait: Wait) -> u64 {
        let window = u128::from(self.rule.window().get());
        let span = match wait {
            Wait::Micros(span) => u128::from(span),
            Wait::OfWindow(part) => window * u128::from(part) / 1_000,
            Wait::OfToken(part) => {
                window * u128::from(part) / 1_000 / u128::from(self.rule.limit())
            }
            Wait::Last(more) => {
                let last = self.last.retry_after.unwrap_or(self.last.reset_after);
                u128::from(last.get().saturating_add_signed(more))
            }
        };
        u64::try_from(span).unwrap_or(u64::MAX)
    }

    fn cost_of(&self, cost: Cost) -> u64 {
        let capacity = self.rule.capacity();
        match cost {
            Cost::Exactly(cost) => cost.max(1),
            Cost::OfCapacity(part) => {
                let cost = u128::from(capacity) * u128::from(part) / 1_000;
                u64::try_from(cost).unwrap_or(u64::MAX).max(1)
            }
            Cost::Remaining(more) => {
                let remaining = self.peek_at(self.now, 1).remaining;
                (remaining + more).clamp(1, capacity)
            }
        }
    }
}

fn rule_of(algorithm: Algorithm, limit: u64, window: u64) -> CheckedRule {
    let rule = Rule::new("r", limit, Duration::from_micros(window)).algorithm(algorithm);
    rule.check().unwrap()
}
