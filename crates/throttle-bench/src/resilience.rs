//! The time that wrappers add to a decision in memory, and the time of a cached denial.

use std::{hint::black_box, time::Duration};

use throttle_core::{AskKind, Key, Limiter, Rule, Storage};
use throttle_memory::MemoryStorage;
use throttle_resilience::{
    CircuitBreaker, CircuitBreakerConfig, Deadline, Deadlines, DenialCache, FailureModes,
    Resilience,
};

use crate::harness::{Variant, median, run_alternately};

const ROUNDS: usize = 41;
const TIMES: usize = 50_000;

pub(crate) fn run() {
    println!("\nresilience: nanoseconds of a decision in memory, in each thread");
    println!(
        "| scenario | variant | ns | more than bare | of bare |\n| --- | --- | --- | --- | --- |"
    );
    for threads in [1, 2] {
        table(&format!("allowed, {threads} thread(s)"), "allowed", threads);
    }
    for threads in [1, 2] {
        table(&format!("denied, {threads} thread(s)"), "denied", threads);
    }
}

fn table(scenario: &str, key: &str, threads: usize) {
    let memory = MemoryStorage::new;
    let breaker = || CircuitBreaker::new(memory(), CircuitBreakerConfig::new());
    let both = || {
        let deadline = Deadline::new(memory(), Deadlines::new());
        CircuitBreaker::new(deadline, CircuitBreakerConfig::new())
    };
    let all = || Resilience::new(memory()).failure_modes(FailureModes::local(memory(), 3));
    let limiters = [
        ("bare", limiter(memory(), key)),
        ("breaker", limiter(breaker(), key)),
        ("breaker + deadline", limiter(both(), key)),
        ("breaker + deadline + fallback", limiter(all().build(), key)),
        ("denial cache", limiter(DenialCache::new(memory(), 100_000), key)),
        ("all", limiter(all().denial_cache(100_000).build(), key)),
    ];
    let key = Key::from("203.0.113.7");
    let mut variants = Vec::new();
    for (name, limiter) in &limiters {
        let once = |_: usize| {
            let key = Key::from(&key);
            black_box(
                limiter.begin(&key, Some(&["api"]), None, AskKind::Acquire).into_ready().is_ok(),
            );
        };
        variants.push(match threads {
            1 => Variant::new(name, once),
            _ => Variant::on_two_threads(name, once),
        });
    }
    let taken = run_alternately(&mut variants, ROUNDS, TIMES);
    let medians: Vec<_> = taken.into_iter().map(median).collect();
    for (variant, ns) in variants.iter().zip(&medians) {
        let (more, times) = (ns - medians[0], ns / medians[0]);
        println!("| {scenario} | {} | {ns:.0} | {more:.0} | {times:.2} |", variant.name);
    }
}

/// Creates a limiter that allows everything, or one request a day. Recent violations are not kept,
/// so that only the storages are measured.
fn limiter(storage: impl Storage, what: &str) -> Limiter {
    let limiter = Limiter::builder(storage).recent_violations(0).build();
    let rule = match what {
        "allowed" => Rule::per_second("api", 4_000_000_000),
        _ => Rule::new("api", 1, Duration::from_secs(86_400)),
    };
    limiter.add_rule(rule).expect("the rule is in range");
    limiter
}
