//! Test vectors: histories of requests, with decisions computed in exact rational arithmetic.

use std::time::Duration;

use serde::Deserialize;
use throttle_core::{Algorithm, Decision, Limiter, ManualClock, Micros, Rule};

use crate::fixtures::unique;

const FILES: [&str; 6] = [
    include_str!("../vectors/fixed_window.json"),
    include_str!("../vectors/sliding_window_counter.json"),
    include_str!("../vectors/sliding_window_log.json"),
    include_str!("../vectors/token_bucket.json"),
    include_str!("../vectors/leaky_bucket.json"),
    include_str!("../vectors/block.json"),
];

/// A history of one key under one rule.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Vector {
    /// A short description.
    pub name: String,
    /// The algorithm of the rule.
    pub algorithm: Algorithm,
    /// The numbers of the rule.
    pub rule: RuleNumbers,
    /// The requests and the expected decisions, in order.
    pub steps: Vec<Step>,
}

/// The numbers of a rule; times in microseconds.
#[derive(Copy, Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of a rule")]
#[non_exhaustive]
pub struct RuleNumbers {
    pub limit: u64,
    pub window_us: u64,
    pub burst: Option<u64>,
    pub block_us: Option<u64>,
}

/// A request and the expected decision.
#[derive(Copy, Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// The time of the request, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// The cost of the request.
    pub cost: u64,
    /// The expected decision.
    pub expect: Expect,
}

/// A decision; times in microseconds.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of a decision")]
#[non_exhaustive]
pub struct Expect {
    pub allowed: bool,
    pub limit: u64,
    pub remaining: u64,
    pub reset_after_us: u64,
    pub retry_after_us: Option<u64>,
    pub delay_us: u64,
    pub blocked: bool,
}

/// Returns all vectors.
///
/// # Panics
///
/// Panics if the files of this crate are damaged.
#[must_use]
pub fn all() -> Vec<Vector> {
    let read = |file: &str| -> Vec<Vector> {
        serde_json::from_str(file).expect("the files of this crate are vectors")
    };
    FILES.into_iter().flat_map(read).collect()
}

impl Vector {
    /// Returns the rule of this vector, with the given name.
    pub fn rule(&self, name: &str) -> Rule {
        let numbers = self.rule;
        let window = Duration::from_micros(numbers.window_us);
        let mut rule = Rule::new(name, numbers.limit, window).algorithm(self.algorithm);
        if let Some(burst) = numbers.burst {
            rule = rule.burst(burst);
        }
        if let Some(block) = numbers.block_us {
            rule = rule.block(Duration::from_micros(block));
        }
        rule
    }
}

impl From<&Decision> for Expect {
    fn from(decision: &Decision) -> Self {
        let micros = |span: Duration| Micros::from(span).get();
        Self {
            allowed: decision.is_allowed(),
            limit: decision.limit(),
            remaining: decision.remaining(),
            reset_after_us: micros(decision.reset_after()),
            retry_after_us: decision.retry_after().map(micros),
            delay_us: micros(decision.delay()),
            blocked: decision.is_blocked(),
        }
    }
}

/// Replays all vectors; returns the number of vectors and of decisions.
pub(crate) async fn replay((limiter, clock): &(Limiter, ManualClock)) -> (usize, usize) {
    let vectors = all();
    let mut decisions = 0;
    for (i, vector) in vectors.iter().enumerate() {
        let name = format!("vector {i}");
        limiter.replace_rule(vector.rule(&name)).expect("vectors have rules in range");
        let key = unique("vector");
        for (n, step) in vector.steps.iter().enumerate() {
            clock.set(Micros::new(step.at_us).to_system_time());
            let what = || format!("{} ({}), step {n}: {step:?}", vector.name, vector.algorithm);

            let peeked = limiter.peek(&key, &name).await.expect("a peek");
            let decision = limiter.check_cost(&key, &name, step.cost).await.expect("a decision");
            assert_eq!(Expect::from(&decision), step.expect, "{}", what());
            if step.cost == 1 {
                assert_eq!(peeked.is_allowed(), step.expect.allowed, "a peek at {}", what());
            }
            decisions += 1;
        }
        assert!(limiter.remove_rule(&name));
    }
    (vectors.len(), decisions)
}
