//! Servers with different algorithms for the same rule, as during a rolling deployment.

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
            each_algorithm_counts_separately(storage, one, two).await;
            a_block_applies_to_both(storage, one, two).await;
            checks += 2;
        }
    }
    checks
}

/// Two servers that share a storage and a clock.
struct Instances {
    limiters: [Limiter; 2],
    clock: ManualClock,
    /// Whether the algorithms share their state: the two buckets do, so a rule can change between them.
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

async fn each_algorithm_counts_separately(
    storage: &Arc<dyn AtomicStorage>,
    one: Algorithm,
    two: Algorithm,
) {
    let rule = |algorithm| Rule::per_day("r", LIMIT).algorithm(algorithm);
    let servers = Instances::new(storage, [rule(one), rule(two)]);
    let [first, second] = &servers.limiters;
    let key = unique("mixed");

    let mut allowed = [0, 0];
    for _ in 0..20 {
        for (limiter, allowed) in servers.limiters.iter().zip(&mut allowed) {
            *allowed += u64::from(limiter.check(&key, "r").await.unwrap().is_allowed());
            servers.clock.advance(Duration::from_millis(1));
        }
    }
    let pair = format!("{one} and {two}");
    if servers.share {
        assert_eq!(allowed.iter().sum::<u64>(), LIMIT, "{pair}");
    } else {
        assert_eq!(allowed, [LIMIT, LIMIT], "{pair}");
    }

    first.reset(&key, "r").await.unwrap();
    assert_eq!(servers.remaining(&key).await, [LIMIT, LIMIT], "{pair}: a reset applies to both");

    second.check(&key, "r").await.unwrap();
    let charged = first.check_cost(&key, "r", 2).await.unwrap();
    first.rollback(&key, &[charged]).await.unwrap();
    let expected = if servers.share { [4, 4] } else { [5, 4] };
    assert_eq!(
        servers.remaining(&key).await,
        expected,
        "{pair}: only the charged algorithm gets the refund"
    );
}

async fn a_block_applies_to_both(storage: &Arc<dyn AtomicStorage>, one: Algorithm, two: Algorithm) {
    let block = Duration::from_secs(9);
    let blocks = Rule::per_second("r", 2).algorithm(one).block(block);
    let other = Rule::per_day("r", LIMIT).algorithm(two);
    let servers = Instances::new(storage, [blocks, other]);
    let [first, second] = &servers.limiters;
    let key = unique("blocked");
    let pair = format!("{one} and {two}");

    assert!(second.check(&key, "r").await.unwrap().is_allowed(), "{pair}");
    while first.check(&key, "r").await.unwrap().is_allowed() {}
    let denied = second.check(&key, "r").await.unwrap();
    assert!(denied.is_blocked() && !denied.is_allowed(), "{pair}");
    assert_eq!(denied.retry_after(), Some(block), "{pair}");

    servers.clock.advance(block);
    let decision = second.check(&key, "r").await.unwrap();
    assert!(decision.is_allowed(), "{pair}");
    if !servers.share {
        assert_eq!(decision.remaining(), LIMIT - 2, "{pair}: its own count is unchanged");
        assert!(first.check(&key, "r").await.unwrap().is_allowed(), "{pair}");
    }
}
