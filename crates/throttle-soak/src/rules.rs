//! Random rules, and their random successors.

use std::time::Duration;

use throttle_core::{Algorithm, Rule};
use throttle_resilience::{FailureMode, LeaseBudget};

use crate::bound::Bound;

/// The number of rules: three of each algorithm.
pub(crate) const RULES: usize = 3 * Algorithm::ALL.len();
/// The longest window, in milliseconds. A bucket takes at most twice that to drain.
const LONGEST: u64 = 2_000;

/// A rule as it is at first, and the properties that all its successors share.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) rule: Rule,
    /// The lease budget in percent, for a leased rule.
    lease_budget: Option<u32>,
    blocks: bool,
}

impl Slot {
    /// Draws all rules: some of each algorithm, leased and not.
    pub(crate) fn draw_all(random: &mut fastrand::Rng) -> Vec<Self> {
        (0..RULES).map(|number| Self::draw(number, random)).collect()
    }

    fn draw(number: usize, random: &mut fastrand::Rng) -> Self {
        let name = format!("r{number}");
        let algorithm = Algorithm::ALL[number % Algorithm::ALL.len()];
        let is_leased = number / Algorithm::ALL.len() == 1 && algorithm != Algorithm::LeakyBucket;
        let lease_budget = is_leased.then(|| random.u32(10..40));
        let blocks = !is_leased && number % 7 == 3;
        let rule = Rule::new(&name, 1, Duration::from_secs(1)).algorithm(algorithm);
        let mut slot = Self { name, rule, lease_budget, blocks };
        slot.rule = slot.draw_rule(algorithm, random);
        slot
    }

    pub(crate) fn is_leased(&self) -> bool {
        self.lease_budget.is_some()
    }

    pub(crate) fn lease_budget(&self) -> Option<LeaseBudget> {
        self.lease_budget.map(LeaseBudget::percent)
    }

    /// Returns whether it blocks keys, which rejects for longer than the limit does.
    pub(crate) fn blocks(&self) -> bool {
        self.blocks
    }

    pub(crate) fn bound(&self) -> Bound {
        bound_of(&self.rule)
    }

    /// Draws the rule's successor: mostly another limit, which keeps the counts, sometimes another
    /// rule.
    pub(crate) fn successor(&self, now: &Rule, random: &mut fastrand::Rng) -> Rule {
        let bound = bound_of(now);
        if random.u8(..4) > 0 {
            // The largest limit of a log in Redis.
            let limit = (bound.limit * random.u64(50..200) / 100).clamp(1, 10_000);
            let burst = if random.bool() || self.is_leased() {
                bound.burst
            } else {
                (bound.burst * random.u64(20..300) / 100).clamp(1, 10_000)
            };
            let limit = limit.max((burst * bound.window).div_ceil(LONGEST * 2_000));
            return self.rule_of(bound.algorithm, limit, bound.window / 1_000, burst, random);
        }
        let algorithm = if random.bool() || self.is_leased() {
            bound.algorithm
        } else {
            Algorithm::ALL[random.usize(..Algorithm::ALL.len())]
        };
        self.draw_rule(algorithm, random)
    }

    fn draw_rule(&self, algorithm: Algorithm, random: &mut fastrand::Rng) -> Rule {
        // Only hot keys are leased, and windows must be long enough to hold permits.
        let (shortest, rate) = if self.is_leased() { (500, 60..300) } else { (50, 3..80) };
        let window = random.u64(shortest..=LONGEST);
        let limit = (random.u64(rate) * window / 1_000).max(1);
        let burst = if random.bool() { limit } else { random.u64(1..=limit * 2) };
        let fits = burst * window <= limit * 2 * LONGEST;
        let burst = if self.is_leased() || !fits { limit } else { burst };
        self.rule_of(algorithm, limit, window, burst, random)
    }

    fn rule_of(
        &self,
        algorithm: Algorithm,
        limit: u64,
        millis: u64,
        burst: u64,
        random: &mut fastrand::Rng,
    ) -> Rule {
        let mut rule =
            Rule::new(&self.name, limit, Duration::from_millis(millis)).algorithm(algorithm);
        let is_bucket = matches!(algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket);
        if is_bucket {
            rule = rule.burst(burst);
        }
        if self.blocks {
            rule = rule.block(Duration::from_millis(random.u64(20..300)));
        }
        let most = if is_bucket { burst } else { limit };
        rule.cost(if random.u8(..4) == 0 { random.u64(1..=most.min(4)) } else { 1 })
    }
}

/// Returns the bound of a rule.
pub(crate) fn bound_of(rule: &Rule) -> Bound {
    Bound::of(&rule.check().expect("all drawn rules are valid"))
}

/// Draws a failure mode.
pub(crate) fn draw_mode(random: &mut fastrand::Rng) -> FailureMode {
    [FailureMode::FailClosed, FailureMode::FailOpen, FailureMode::Local][random.usize(..3)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_drawn_rules_and_successors_are_valid_and_have_short_lifetimes() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let slots = Slot::draw_all(&mut random);
            assert!(Algorithm::ALL.iter().all(|a| slots.iter().any(|s| s.bound().algorithm == *a)));
            assert_eq!(slots.iter().filter(|slot| slot.is_leased()).count(), 4);
            for slot in &slots {
                let mut rule = slot.rule.clone();
                for _ in 0..100 {
                    let bound = bound_of(&rule);
                    assert!(bound.window <= LONGEST * 1_000, "{rule:?}");
                    assert!(
                        bound.burst * bound.window / bound.limit <= LONGEST * 2_000,
                        "{rule:?}"
                    );
                    rule = slot.successor(&rule, &mut random);
                }
            }
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_rules() {
        let draw = |seed| Slot::draw_all(&mut fastrand::Rng::with_seed(seed));
        let rules = |seed| draw(seed).into_iter().map(|slot| slot.rule).collect::<Vec<_>>();
        assert_eq!(rules(7), rules(7));
        assert_ne!(rules(7), rules(8));
    }
}
