//! Tests of the limiter: changed rules, lists, waits, violations, and storage errors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "limiter/changes.rs"]
mod changes;
#[path = "limiter/concurrency.rs"]
mod concurrency;
#[path = "limiter/failed_refunds.rs"]
mod failed_refunds;
#[path = "limiter/failures.rs"]
mod failures;
#[path = "limiter/lists.rs"]
mod lists;
#[path = "limiter/numbers.rs"]
mod numbers;
#[path = "limiter/rules.rs"]
mod rules;
#[path = "limiter/sharing.rs"]
mod sharing;
#[path = "limiter/shutdown.rs"]
mod shutdown;
#[path = "model/six.rs"]
mod six;
#[path = "limiter/violations.rs"]
mod violations;
#[path = "limiter/waiting.rs"]
mod waiting;
#[path = "limiter/wrappers.rs"]
mod wrappers;

use std::time::{Duration, SystemTime};

use throttle_core::{Limiter, ManualClock, Rule};
use throttle_memory::MemoryStorage;

const SECOND: Duration = Duration::from_secs(1);
const MICRO: Duration = Duration::from_micros(1);

/// Returns the beginning of 2026.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// Creates a limiter in memory, with rules and a manual clock.
fn limiter(rules: impl IntoIterator<Item = Rule>) -> (Limiter, ManualClock) {
    let clock = ManualClock::at(start());
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    for rule in rules {
        limiter.add_rule(rule).unwrap();
    }
    (limiter, clock)
}
