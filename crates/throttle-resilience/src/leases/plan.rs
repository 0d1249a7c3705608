//! Lease plans: whether and how a rule is leased.
//!
//! A plan depends only on the rule and the lease budget, so it is the same on every instance.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use smallvec::SmallVec;
use throttle_core::{Algorithm, CheckedRule, Micros, Verdict};

use super::budget::LeaseBudget;

/// The lease plan of a rule.
#[derive(Debug)]
pub(super) struct Plan {
    /// The rule as configured in the limiter.
    pub(super) rule: Arc<CheckedRule>,
    /// The rule that charges all requests in the storage, leased or not.
    pub(super) charged: Arc<CheckedRule>,
    /// The number of permits that all instances together may hold; 0 for a rule that is not leased.
    pub(super) budget: u64,
    /// The lifetime of permits; `None` if they live until their window ends.
    life: Option<Micros>,
    /// The time that a batch should last.
    pub(super) horizon: Micros,
}

/// The plans of a request's rules; `None` for a rule that is not to be leased.
pub(super) type Plans = SmallVec<[Option<Arc<Plan>>; 2]>;

/// The reason why a rule is not leased.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotLeased {
    Leaky,
    /// The algorithm has no lease plan.
    NoPlan(Algorithm),
    Block,
    TooSmall {
        budget: u64,
    },
    Burst {
        burst: u64,
        cost: u64,
    },
    TooShort {
        life: Micros,
    },
}

/// The time that a batch should last, unless permits live for less.
const HORIZON: Micros = Micros::new(500_000);
/// The shortest lifetime of permits that is worth a round trip.
const SHORTEST_LIFE: Micros = Micros::new(2_000);
/// A permit's time is shortened by 1 / 1024, because the storage's clock may run faster than the
/// local one, so its window ends earlier.
const DRIFT: u64 = 1_024;
/// The number of requests that a batch must serve to be worthwhile.
const MIN_REQUESTS_PER_BATCH: u64 = 8;

impl Plan {
    fn new(rule: &Arc<CheckedRule>, budget: LeaseBudget) -> Result<Self, NotLeased> {
        if rule.block().is_some() {
            return Err(NotLeased::Block);
        }
        let same = || Arc::clone(rule);
        let window = rule.window();
        let (charged, budget, life) = match rule.algorithm() {
            Algorithm::LeakyBucket => return Err(NotLeased::Leaky),
            Algorithm::FixedWindow | Algorithm::SlidingWindowCounter => {
                (same(), budget.of(rule.limit()), None)
            }
            Algorithm::SlidingWindowLog => {
                let life = Micros::new(budget.of(window.get()));
                (Arc::new(rule.with_longer_window(life)), budget.of(rule.limit()), Some(life))
            }
            Algorithm::TokenBucket => {
                let reserve = budget.of_ceil(rule.capacity().min(rule.limit()));
                let burst = rule.capacity().saturating_sub(reserve);
                if burst < rule.cost() {
                    return Err(NotLeased::Burst { burst, cost: rule.cost() });
                }
                let life = u128::from(reserve) * u128::from(window.get());
                let life = u64::try_from(life / u128::from(rule.limit())).unwrap_or(u64::MAX);
                let budget = budget.of(burst.min(rule.limit()));
                (Arc::new(rule.with_burst_reserved(reserve)), budget, Some(Micros::new(life)))
            }
            other => return Err(NotLeased::NoPlan(other)),
        };
        if budget < 2 {
            return Err(NotLeased::TooSmall { budget });
        }
        let shortest = life.map_or(window.get() / 4, |life| life.get() / 2);
        let horizon = Micros::new(HORIZON.get().min(shortest).max(1));
        match life {
            Some(life) if life < SHORTEST_LIFE => Err(NotLeased::TooShort { life }),
            _ => Ok(Self { rule: same(), charged, budget, life, horizon }),
        }
    }

    /// Creates a plan that charges the rule unchanged and leases nothing.
    fn unleased(rule: &Arc<CheckedRule>) -> Self {
        let (rule, charged) = (Arc::clone(rule), Arc::clone(rule));
        Self { rule, charged, budget: 0, life: None, horizon: HORIZON }
    }

    pub(super) fn is_leased(&self) -> bool {
        self.budget > 0
    }

    /// Returns the time until which granted permits may be spent, and the earliest time at which
    /// they end in the storage. `sent` is when they were requested, no later than they were
    /// granted. A limiter's own clock is the storage's clock too, so it has no drift.
    pub(super) fn until(
        &self,
        verdict: &Verdict,
        sent: Micros,
        own_clock: bool,
    ) -> (Micros, Micros) {
        let left = match (self.life, self.rule.algorithm()) {
            (Some(life), _) => life,
            // A window's count matters until the next window ends, so `reset_after` covers one
            // window more.
            (None, Algorithm::SlidingWindowCounter) => {
                verdict.reset_after.since(self.rule.window())
            }
            (None, _) => verdict.reset_after,
        };
        let drift = if own_clock { 0 } else { left.get().div_ceil(DRIFT) };
        (sent.plus(Micros::new(left.get() - drift)), sent.plus(left))
    }

    /// Returns the latest time at which permits requested at `sent` can still count, if they were
    /// granted.
    pub(super) fn longest(&self, sent: Micros) -> Micros {
        sent.plus(self.life.unwrap_or(self.rule.window()))
    }

    /// Returns the longest wait while other instances take the freed permits: the time in which
    /// half of the lease budget is freed. `None` if permits are not freed at a constant rate.
    pub(super) fn max_contention_wait(&self) -> Option<Micros> {
        let evenly = matches!(
            self.rule.algorithm(),
            Algorithm::SlidingWindowCounter | Algorithm::TokenBucket
        );
        let span = u128::from(self.rule.window().get()) * u128::from(self.budget)
            / (2 * u128::from(self.rule.limit().max(1)));
        evenly.then(|| Micros::new(u64::try_from(span).unwrap_or(u64::MAX)))
    }

    /// Returns whether unspent permits still count after their end.
    pub(super) fn outlives(&self) -> bool {
        self.rule.algorithm() != Algorithm::FixedWindow
    }

    /// Returns whether all permits of one window are interchangeable.
    pub(super) fn is_of_windows(&self) -> bool {
        self.life.is_none()
    }

    /// Returns the request rate, per second, at which a key is leased.
    pub(super) fn hot_threshold(&self) -> u64 {
        (MIN_REQUESTS_PER_BATCH * 1_000_000).div_ceil(self.horizon.get())
    }

    /// Returns whether charges by this plan can be refunded by another.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        self.charged.algorithm() == other.charged.algorithm()
            && self.charged.window() == other.charged.window()
    }
}

/// The plans of one rule name: of the current rule, and of earlier ones that it replaced.
#[derive(Debug)]
pub(super) struct Named {
    name: String,
    pub(super) budget: LeaseBudget,
    plans: Mutex<Vec<Arc<Plan>>>,
    warnings: std::sync::atomic::AtomicU32,
}

/// The number of plans kept per name: requests with the old and the new rule can overlap while a
/// rule is replaced.
const MAX_PLANS_PER_NAME: usize = 4;
/// The maximum number of warnings per name, so that a rule that changes often does not fill the
/// log.
const MAX_WARNINGS: u32 = 16;

impl Named {
    pub(super) fn new(name: String, budget: LeaseBudget) -> Self {
        Self { name, budget, plans: Mutex::default(), warnings: 0.into() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the plan of a rule, and makes it the current one.
    pub(super) fn plan(&self, rule: &Arc<CheckedRule>) -> Arc<Plan> {
        let mut plans = self.lock();
        let same = |plan: &Arc<Plan>| Arc::ptr_eq(&plan.rule, rule) || plan.rule == *rule;
        if let Some(index) = plans.iter().position(same) {
            plans[..=index].rotate_right(1);
            return Arc::clone(&plans[0]);
        }
        let plan = Plan::new(rule, self.budget).unwrap_or_else(|why| {
            if self.warnings.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < MAX_WARNINGS {
                let (rule, budget) = (&self.name, self.budget);
                tracing::warn!(
                    target: "ratethrottle::resilience",
                    rule, %budget, "a rule is not leased: {why}"
                );
            }
            Plan::unleased(rule)
        });
        let plan = Arc::new(plan);
        plans.insert(0, Arc::clone(&plan));
        plans.truncate(MAX_PLANS_PER_NAME);
        plan
    }

    /// Returns the plan that was requested last.
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
                "a leaky bucket gives each request a scheduled time, which leased permits would not \
                 keep; use a token bucket",
            ),
            Self::NoPlan(algorithm) => write!(
                f,
                "leases do not support the algorithm {algorithm}; choose another, or do not lease the rule"
            ),
            Self::Block => f.write_str(
                "it has a block, and a request that is rejected too early would block its key; remove the block",
            ),
            Self::TooSmall { budget } => write!(
                f,
                "the lease budget is {budget} permits, but at least 2 are needed; use a higher percentage or \
                 a higher limit"
            ),
            Self::Burst { burst, cost } => write!(
                f,
                "the lease budget leaves a burst of {burst}, but a request costs {cost}; use a larger burst \
                 or a lower percentage"
            ),
            Self::TooShort { life } => write!(
                f,
                "with this lease budget permits live for {} µs, too short for a round trip; use a higher \
                 percentage, a larger burst or a longer window",
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
    fn windows_are_charged_unchanged_and_permits_live_until_the_window_ends() {
        for (algorithm, reset_after) in
            [(Algorithm::FixedWindow, 300), (Algorithm::SlidingWindowCounter, 1_000_300)]
        {
            let plan = plan(rule(algorithm), 5.0).unwrap();
            assert!(Arc::ptr_eq(&plan.rule, &plan.charged));
            assert_eq!(plan.budget, 50);
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
        assert_eq!((bucket.life, bucket.budget), (Some(Micros::new(50_000)), 47));

        // A burst below the limit gives a smaller reserve, and so a shorter lifetime.
        let bucket = plan(rule(Algorithm::TokenBucket).burst(100), 5.0).unwrap();
        assert_eq!((bucket.charged.capacity(), bucket.life), (95, Some(Micros::new(5_000))));
    }

    #[test]
    fn a_buckets_reserve_covers_the_lifetime_of_its_permits() {
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
    fn a_rule_that_cannot_be_leased_reports_why_and_what_to_do() {
        let why = |rule, percent| plan(rule, percent).unwrap_err();
        assert_eq!(why(rule(Algorithm::LeakyBucket), 5.0), NotLeased::Leaky);
        let blocks = rule(Algorithm::FixedWindow).block(Duration::from_secs(1));
        assert_eq!(why(blocks, 5.0), NotLeased::Block);
        let small = why(Rule::per_second("r", 30), 5.0);
        assert_eq!(small, NotLeased::TooSmall { budget: 1 });
        assert!(small.to_string().contains("higher percentage"));
        let whole = rule(Algorithm::TokenBucket).cost(1_000);
        assert_eq!(why(whole, 5.0), NotLeased::Burst { burst: 950, cost: 1_000 });
        let short = why(rule(Algorithm::TokenBucket).burst(40), 2.5);
        assert!(matches!(short, NotLeased::TooShort { .. } | NotLeased::TooSmall { .. }));
    }

    #[test]
    fn the_plan_requested_last_is_current_and_few_are_kept() {
        let named = Named::new("r".into(), LeaseBudget::percent(5));
        let rules: Vec<_> =
            (1..=6).map(|n| Arc::new(Rule::per_second("r", 1_000 * n).check().unwrap())).collect();
        for rule in &rules {
            assert_eq!(named.plan(rule).rule, *rule);
        }
        assert_eq!(named.lock().len(), MAX_PLANS_PER_NAME);
        let old = named.plan(&rules[3]);
        assert!(Arc::ptr_eq(&old, &named.current().unwrap()));
        let equal = Arc::new((*rules[3]).clone());
        assert!(Arc::ptr_eq(&old, &named.plan(&equal)), "an equal rule has the same plan");
    }
}
