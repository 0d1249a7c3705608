//! Whether and how a rule is leased: the same on every server, by the rule and the accuracy alone.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use smallvec::SmallVec;
use throttle_core::{Algorithm, CheckedRule, Micros, Verdict};

use super::budget::LeaseBudget;

/// Says how a rule is leased.
#[derive(Debug)]
pub(super) struct Plan {
    /// The rule as the limiter has it.
    pub(super) rule: Arc<CheckedRule>,
    /// The rule by which all is charged, leased or not.
    pub(super) charged: Arc<CheckedRule>,
    /// How much all servers together may hold; none for a rule that is not leased.
    pub(super) slack: u64,
    /// How long permits live; none where they live until their window ends.
    life: Option<Micros>,
    /// How long a batch should last.
    pub(super) horizon: Micros,
}

/// The plans of the rules of a request; none for a rule that is not named.
pub(super) type Plans = SmallVec<[Option<Arc<Plan>>; 2]>;

/// Says why a rule is not leased.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotLeased {
    Leaky,
    /// By an algorithm that this version has no plan for.
    NoPlan(Algorithm),
    Block,
    TooSmall {
        slack: u64,
    },
    Burst {
        burst: u64,
        cost: u64,
    },
    TooShort {
        life: Micros,
    },
}

/// A batch lasts so long, unless permits live for less.
const HORIZON: Micros = Micros::new(500_000);
/// Permits that live for less are not worth a round trip.
const SHORTEST_LIFE: Micros = Micros::new(2_000);
/// How much faster than ours the storage's clock may run, so that a window ends sooner by it: 1 / 1024.
const DRIFT: u64 = 1_024;
/// A key is leased if so many of its requests are served by a batch.
const WORTH: u64 = 8;

impl Plan {
    fn new(rule: &Arc<CheckedRule>, accuracy: LeaseBudget) -> Result<Self, NotLeased> {
        if rule.block().is_some() {
            return Err(NotLeased::Block);
        }
        let same = || Arc::clone(rule);
        let window = rule.window();
        let (charged, slack, life) = match rule.algorithm() {
            Algorithm::LeakyBucket => return Err(NotLeased::Leaky),
            Algorithm::FixedWindow | Algorithm::SlidingWindowCounter => {
                (same(), accuracy.of(rule.limit()), None)
            }
            Algorithm::SlidingWindowLog => {
                let life = Micros::new(accuracy.of(window.get()));
                (Arc::new(rule.with_longer_window(life)), accuracy.of(rule.limit()), Some(life))
            }
            Algorithm::TokenBucket => {
                let reserve = accuracy.of_ceil(rule.capacity().min(rule.limit()));
                let burst = rule.capacity().saturating_sub(reserve);
                if burst < rule.cost() {
                    return Err(NotLeased::Burst { burst, cost: rule.cost() });
                }
                let life = u128::from(reserve) * u128::from(window.get());
                let life = u64::try_from(life / u128::from(rule.limit())).unwrap_or(u64::MAX);
                let slack = accuracy.of(burst.min(rule.limit()));
                (Arc::new(rule.with_burst_reserved(reserve)), slack, Some(Micros::new(life)))
            }
            other => return Err(NotLeased::NoPlan(other)),
        };
        if slack < 2 {
            return Err(NotLeased::TooSmall { slack });
        }
        let shortest = life.map_or(window.get() / 4, |life| life.get() / 2);
        let horizon = Micros::new(HORIZON.get().min(shortest).max(1));
        match life {
            Some(life) if life < SHORTEST_LIFE => Err(NotLeased::TooShort { life }),
            _ => Ok(Self { rule: same(), charged, slack, life, horizon }),
        }
    }

    /// Goes by the rule as it is.
    fn as_it_is(rule: &Arc<CheckedRule>) -> Self {
        let (rule, charged) = (Arc::clone(rule), Arc::clone(rule));
        Self { rule, charged, slack: 0, life: None, horizon: HORIZON }
    }

    pub(super) fn is_leased(&self) -> bool {
        self.slack > 0
    }

    /// Returns until when permits may be spent that a verdict granted, and when at the earliest they
    /// end; `sent` is when it was asked for, no later than it was given. The limiter's own clock is the
    /// storage's too and does not drift.
    pub(super) fn until(
        &self,
        verdict: &Verdict,
        sent: Micros,
        own_clock: bool,
    ) -> (Micros, Micros) {
        let left = match (self.life, self.rule.algorithm()) {
            (Some(life), _) => life,
            // The count of this window matters until the next one ends.
            (None, Algorithm::SlidingWindowCounter) => {
                verdict.reset_after.since(self.rule.window())
            }
            (None, _) => verdict.reset_after,
        };
        let drift = if own_clock { 0 } else { left.get().div_ceil(DRIFT) };
        (sent.plus(Micros::new(left.get() - drift)), sent.plus(left))
    }

    /// Returns until when permits may exist that were asked for at `sent`, if they were granted.
    pub(super) fn longest(&self, sent: Micros) -> Micros {
        sent.plus(self.life.unwrap_or(self.rule.window()))
    }

    /// Returns how long to ask for nothing at most while others take what comes back: half of what all may
    /// hold comes back in it. None where permits do not come back evenly.
    pub(super) fn patience(&self) -> Option<Micros> {
        let evenly = matches!(
            self.rule.algorithm(),
            Algorithm::SlidingWindowCounter | Algorithm::TokenBucket
        );
        let span = u128::from(self.rule.window().get()) * u128::from(self.slack)
            / (2 * u128::from(self.rule.limit().max(1)));
        evenly.then(|| Micros::new(u64::try_from(span).unwrap_or(u64::MAX)))
    }

    /// Returns whether permits that were not spent still count after their end.
    pub(super) fn outlives(&self) -> bool {
        self.rule.algorithm() != Algorithm::FixedWindow
    }

    /// Returns whether permits of one moment are as good as those of another: of one window they are.
    pub(super) fn is_of_windows(&self) -> bool {
        self.life.is_none()
    }

    /// Returns how many requests a second make a key worth a lease.
    pub(super) fn worth(&self) -> u64 {
        (WORTH * 1_000_000).div_ceil(self.horizon.get())
    }

    /// Returns whether what was charged by this plan can be given back by another one.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        self.charged.algorithm() == other.charged.algorithm()
            && self.charged.window() == other.charged.window()
    }
}

/// The plans of one name: of the rule as it is, and as it was before it was replaced.
#[derive(Debug)]
pub(super) struct Named {
    name: String,
    pub(super) accuracy: LeaseBudget,
    plans: Mutex<Vec<Arc<Plan>>>,
    told: std::sync::atomic::AtomicU32,
}

/// Requests with different rules of one name can cross while one replaces the other.
const OF_A_NAME: usize = 4;
/// Of so many rules of one name it is said that they are not leased, so that nothing fills a log.
const MOST_TOLD: u32 = 16;

impl Named {
    pub(super) fn new(name: String, accuracy: LeaseBudget) -> Self {
        Self { name, accuracy, plans: Mutex::default(), told: 0.into() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the plan of a rule; the one that was asked for last is the current one.
    pub(super) fn plan(&self, rule: &Arc<CheckedRule>) -> Arc<Plan> {
        let mut plans = self.lock();
        let same = |plan: &Arc<Plan>| Arc::ptr_eq(&plan.rule, rule) || plan.rule == *rule;
        if let Some(place) = plans.iter().position(same) {
            plans[..=place].rotate_right(1);
            return Arc::clone(&plans[0]);
        }
        let plan = Plan::new(rule, self.accuracy).unwrap_or_else(|why| {
            if self.told.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < MOST_TOLD {
                let (rule, accuracy) = (&self.name, self.accuracy);
                tracing::warn!(rule, %accuracy, "a rule is not leased, each request asks: {why}");
            }
            Plan::as_it_is(rule)
        });
        let plan = Arc::new(plan);
        plans.insert(0, Arc::clone(&plan));
        plans.truncate(OF_A_NAME);
        plan
    }

    /// Returns the plan that was asked for last.
    pub(super) fn current(&self) -> Option<Arc<Plan>> {
        self.lock().first().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for NotLeased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaky => f.write_str(
                "a leaky bucket gives each request its turn, which permits held in stock would not \
                 keep; take a token bucket",
            ),
            Self::NoPlan(algorithm) => write!(
                f,
                "leases do not support the algorithm {algorithm}; choose another, or leave the rule out"
            ),
            Self::Block => f.write_str(
                "it blocks, and a request that is refused too early would shut its key; leave the \
                 block out",
            ),
            Self::TooSmall { slack } => write!(
                f,
                "the accuracy leaves {slack} permits of its limit to be held; give it a greater \
                 percentage or a greater limit"
            ),
            Self::Burst { burst, cost } => write!(
                f,
                "the accuracy leaves a burst of {burst} and a request costs {cost}; give it a greater \
                 burst or a smaller percentage"
            ),
            Self::TooShort { life } => write!(
                f,
                "by the accuracy permits live for {} µs, less than a round trip is worth; give it a \
                 greater percentage, burst or window",
                life.get()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use throttle_core::Rule;

    use super::*;

    fn plan(rule: Rule, percent: f64) -> Result<Plan, NotLeased> {
        Plan::new(&Arc::new(rule.check().unwrap()), LeaseBudget::percent(percent))
    }

    fn rule(algorithm: Algorithm) -> Rule {
        Rule::per_second("r", 1_000).algorithm(algorithm)
    }

    #[test]
    fn windows_are_charged_as_they_are_and_permits_live_until_theirs_ends() {
        for (algorithm, reset_after) in
            [(Algorithm::FixedWindow, 300), (Algorithm::SlidingWindowCounter, 1_000_300)]
        {
            let plan = plan(rule(algorithm), 5.0).unwrap();
            assert!(Arc::ptr_eq(&plan.rule, &plan.charged));
            assert_eq!(plan.slack, 50);
            let verdict = Verdict { reset_after: Micros::new(reset_after), ..Verdict::default() };
            let end = Micros::new(307);
            assert_eq!(plan.until(&verdict, Micros::new(7), true), (end, end));
            let drift = (Micros::new(306), end);
            assert_eq!(plan.until(&verdict, Micros::new(7), false), drift);
        }
    }

    #[test]
    fn a_log_is_charged_by_a_longer_window_and_a_bucket_by_a_smaller_burst() {
        let log = plan(rule(Algorithm::SlidingWindowLog), 5.0).unwrap();
        assert_eq!((log.charged.window().get(), log.charged.limit()), (1_050_000, 1_000));
        assert_eq!(log.life, Some(Micros::new(50_000)));

        let bucket = plan(rule(Algorithm::TokenBucket), 5.0).unwrap();
        assert_eq!((bucket.charged.capacity(), bucket.charged.limit()), (950, 1_000));
        assert_eq!((bucket.life, bucket.slack), (Some(Micros::new(50_000)), 47));

        // A burst that is less than the limit gives less room, and so less time.
        let bucket = plan(rule(Algorithm::TokenBucket).burst(100), 5.0).unwrap();
        assert_eq!((bucket.charged.capacity(), bucket.life), (95, Some(Micros::new(5_000))));
    }

    #[test]
    fn what_a_bucket_lets_through_by_its_reserve_is_what_its_permits_may_be_late() {
        for (limit, burst, percent) in
            [(7, 3, 40.0), (999, 1_001, 3.3), (1_000_000, 17, 50.0), (3, 100_000, 50.0)]
        {
            let rule = Rule::per_hour("r", limit).algorithm(Algorithm::TokenBucket).burst(burst);
            let Ok(plan) = plan(rule, percent) else { continue };
            let (life, window) = (plan.life.unwrap().get(), plan.rule.window().get());
            let late = u128::from(life) * u128::from(limit);
            let reserve = u128::from(burst - plan.charged.capacity());
            assert!(late <= reserve * u128::from(window), "{limit} {burst} {percent}");
        }
    }

    #[test]
    fn what_cannot_be_leased_says_why_and_what_to_do() {
        let why = |rule, percent| plan(rule, percent).unwrap_err();
        assert_eq!(why(rule(Algorithm::LeakyBucket), 5.0), NotLeased::Leaky);
        let blocks = rule(Algorithm::FixedWindow).block(Duration::from_secs(1));
        assert_eq!(why(blocks, 5.0), NotLeased::Block);
        let small = why(Rule::per_second("r", 30), 5.0);
        assert_eq!(small, NotLeased::TooSmall { slack: 1 });
        assert!(small.to_string().contains("greater percentage"));
        let whole = rule(Algorithm::TokenBucket).cost(1_000);
        assert_eq!(why(whole, 5.0), NotLeased::Burst { burst: 950, cost: 1_000 });
        let short = why(rule(Algorithm::TokenBucket).burst(40), 2.5);
        assert!(matches!(short, NotLeased::TooShort { .. } | NotLeased::TooSmall { .. }));
    }

    #[test]
    fn of_a_name_the_plan_asked_for_last_is_current_and_few_are_kept() {
        let named = Named::new("r".into(), LeaseBudget::percent(5));
        let rules: Vec<_> =
            (1..=6).map(|n| Arc::new(Rule::per_second("r", 1_000 * n).check().unwrap())).collect();
        for rule in &rules {
            assert_eq!(named.plan(rule).rule, *rule);
        }
        assert_eq!(named.lock().len(), OF_A_NAME);
        let old = named.plan(&rules[3]);
        assert!(Arc::ptr_eq(&old, &named.current().unwrap()));
        let equal = Arc::new((*rules[3]).clone());
        assert!(Arc::ptr_eq(&old, &named.plan(&equal)), "an equal rule has the same plan");
    }
}
