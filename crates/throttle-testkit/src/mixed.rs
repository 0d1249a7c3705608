//! Servers that count by different algorithms under the name of one rule, as while a deployment rolls out.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Limiter, ManualClock, Rule};

use crate::fixtures::{limiter_at_2026, unique};

const LIMIT: u64 = 5;

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    let mut checks = 0;
    for one in Algorithm::ALL {
        for two in Algorithm::ALL {
            if one == two {
                continue;
            }
            each_counts_by_itself(storage, one, two).await;
            what_is_shut_by_one_is_shut_for_both(storage, one, two).await;
            checks += 2;
        }
    }
    checks
}

/// Two servers that share a storage and a clock.
struct Instances {
    limiters: [Limiter; 2],
    clock: ManualClock,
    /// The buckets share their state, so that a rule can change from one to the other.
    share: bool,
}

impl Instances {
    fn new(storage: &Arc<dyn AtomicStorage>, rules: [Rule; 2]) -> Self {
        let algorithms = [&rules[0], &rules[1]].map(|rule| rule.check().unwrap().algorithm());
        let is_bucket = |one| matches!(one, Algorithm::TokenBucket | Algorithm::LeakyBucket);
        let share = algorithms.into_iter().all(is_bucket);
        let [one, two] = rules;
        let (first, clock) = limiter_at_2026(storage);
        let second = Limiter::builder(Arc::clone(storage)).clock(clock.clone()).build();
        first.add_rule(one).unwrap();
        second.add_rule(two).unwrap();
        Self { limiters: [first, second], clock, share }
    }

    async fn remaining(&self, key: &str) -> [u64; 2] {
        let of = async |limiter: &Limiter| limiter.peek(key, "r").await.unwrap().remaining();
        [of(&self.limiters[0]).await, of(&self.limiters[1]).await]
    }
}

async fn each_counts_by_itself(storage: &Arc<dyn AtomicStorage>, one: Algorithm, two: Algorithm) {
    let rule = |algorithm| Rule::per_day("r", LIMIT).algorithm(algorithm);
    let servers = Instances::new(storage, [rule(one), rule(two)]);
    let [first, second] = &servers.limiters;
    let key = unique("mixed");

    let mut passed = [0, 0];
    for _ in 0..20 {
        for (limiter, passed) in servers.limiters.iter().zip(&mut passed) {
            *passed += u64::from(limiter.check(&key, "r").await.unwrap().is_allowed());
            servers.clock.advance(Duration::from_millis(1));
        }
    }
    let whose = format!("{one} beside {two}");
    if servers.share {
        assert_eq!(passed.iter().sum::<u64>(), LIMIT, "{whose}");
    } else {
        assert_eq!(passed, [LIMIT, LIMIT], "{whose}");
    }

    first.reset(&key, "r").await.unwrap();
    assert_eq!(servers.remaining(&key).await, [LIMIT, LIMIT], "{whose}: a reset is of both");

    second.check(&key, "r").await.unwrap();
    let charged = first.check_cost(&key, "r", 2).await.unwrap();
    first.rollback(&key, &[charged]).await.unwrap();
    let expected = if servers.share { [4, 4] } else { [5, 4] };
    assert_eq!(servers.remaining(&key).await, expected, "{whose}: given back to the one charged");
}

async fn what_is_shut_by_one_is_shut_for_both(
    storage: &Arc<dyn AtomicStorage>,
    one: Algorithm,
    two: Algorithm,
) {
    let block = Duration::from_secs(9);
    let shuts = Rule::per_second("r", 2).algorithm(one).block(block);
    let other = Rule::per_day("r", LIMIT).algorithm(two);
    let servers = Instances::new(storage, [shuts, other]);
    let [first, second] = &servers.limiters;
    let key = unique("shut");
    let whose = format!("{one} beside {two}");

    assert!(second.check(&key, "r").await.unwrap().is_allowed(), "{whose}");
    while first.check(&key, "r").await.unwrap().is_allowed() {}
    let denied = second.check(&key, "r").await.unwrap();
    assert!(denied.is_blocked() && !denied.is_allowed(), "{whose}");
    assert_eq!(denied.retry_after(), Some(block), "{whose}");

    servers.clock.advance(block);
    let decision = second.check(&key, "r").await.unwrap();
    assert!(decision.is_allowed(), "{whose}");
    if !servers.share {
        assert_eq!(decision.remaining(), LIMIT - 2, "{whose}: what it counted is there");
        assert!(first.check(&key, "r").await.unwrap().is_allowed(), "{whose}");
    }
}
