//! The allocations of decisions, limiters and rules.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    alloc::System,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use throttle_core::{Algorithm, AskKind, Key, Limiter, Rule};
use throttle_memory::MemoryStorage;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Returns the number of allocations in 900 allowed and in 500 denied decisions.
fn allocations(algorithm: Algorithm) -> (usize, usize) {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("api", 2_000).algorithm(algorithm)).unwrap();
    let decide = || {
        let key = Key::from("203.0.113.7");
        let mut reply = pin!(limiter.begin(&key, Some(&["api"]), None, AskKind::Acquire));
        match reply.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer.unwrap().is_allowed(),
            Poll::Pending => panic!("memory answers at once"),
        }
    };
    // The log grows by doubling, and has room for 2048 entries now.
    (0..1_025).for_each(|_| assert!(decide()));
    let region = Region::new(ALLOCATOR);
    (0..900).for_each(|_| assert!(decide()));
    let allowed = region.change().allocations;

    (0..200).for_each(|_| {
        decide();
    });
    let region = Region::new(ALLOCATOR);
    (0..500).for_each(|_| assert!(!decide()));
    (allowed, region.change().allocations)
}

#[test]
fn a_decision_on_a_key_that_exists_allocates_nothing() {
    for algorithm in Algorithm::ALL {
        // The thread of the test harness sometimes allocates, too.
        let fewest = (0..3).map(|_| allocations(algorithm)).min();
        assert_eq!(fewest, Some((0, 0)), "{algorithm}, allowed and denied");
    }
}

/// Returns the bytes that `work` allocates, and those that its result still holds, in the run with the least.
fn bytes<T>(work: impl Fn() -> T) -> (usize, usize) {
    let run = || {
        let region = Region::new(ALLOCATOR);
        let made = work();
        let change = region.change();
        drop(made);
        (change.bytes_allocated, change.bytes_allocated.saturating_sub(change.bytes_deallocated))
    };
    let runs: Vec<_> = (0..3).map(|_| run()).collect(); // other threads may allocate, too
    runs.into_iter().min().unwrap_or_default()
}

#[test]
fn a_limiter_with_its_storage_needs_about_ten_kibibytes() {
    let (_, held) = bytes(|| Limiter::new(MemoryStorage::new()));
    assert!(held < 12 * 1024, "{held} bytes");
}

#[test]
fn adding_a_rule_to_many_does_not_copy_all_of_them() {
    let add = |limiter: &Limiter, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let spread = number.wrapping_mul(2_654_435_761); // not in the order of names
            limiter.add_rule(Rule::per_minute(format!("rule-{spread:08x}"), 5)).unwrap();
        }
    };
    let limiter = Limiter::new(MemoryStorage::new());
    let region = Region::new(ALLOCATOR);
    add(&limiter, 0..20_000);
    let each = region.change().bytes_allocated / 20_000;
    assert!(each < 32 * 1024, "{each} bytes for each rule");
    assert_eq!(limiter.rules().len(), 20_000);
}
