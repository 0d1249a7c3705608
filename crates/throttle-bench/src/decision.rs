//! The time of a decision alone.

use std::{hint::black_box, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter};
use limitador::{
    RateLimiter as Limitador,
    limit::{Context, Limit},
    storage::in_memory,
};
use throttle_core::{Algorithm, AskKind, Key, Limiter, Rule};
use throttle_memory::MemoryStorage;

use crate::harness::{Variant, median, run_alternately};

const ROUNDS: usize = 21;
const TIMES: usize = 50_000;
const KEYS: usize = 10_000;

pub(crate) fn run() {
    println!("\ndecision: nanoseconds, in each thread");
    println!("| scenario | variant | ns | of governor |\n| --- | --- | --- | --- |");
    let hot = vec!["203.0.113.7".to_owned()];
    let many: Vec<_> = (0..KEYS).map(|i| format!("10.0.{}.{}", i / 250, i % 250)).collect();
    for threads in [1, 2] {
        table(&format!("one key, {threads} thread(s)"), &hot, threads);
    }
    for threads in [1, 2] {
        table(&format!("{KEYS} keys, {threads} thread(s)"), &many, threads);
    }
}

fn table(scenario: &str, keys: &[String], threads: usize) {
    let key = |i: usize| keys[i.wrapping_mul(7_919) % keys.len()].as_str();
    let governor = RateLimiter::keyed(Quota::per_second(NonZeroU32::MAX));
    let limitador = limitador(keys.len());
    let limiters = Algorithm::ALL.map(|algorithm| (algorithm, limiter(algorithm)));
    let cache = moka::sync::Cache::builder().max_capacity(1_000_000).build();
    for key in keys {
        cache.insert(key.clone(), ());
    }

    let mut variants = vec![variant(threads, "governor", |i| {
        black_box(governor.check_key(&key(i)).is_ok());
    })];
    for (algorithm, limiter) in &limiters {
        variants.push(variant(threads, algorithm.as_str(), move |i| {
            let key = Key::from(key(i));
            black_box(
                limiter.begin(&key, Some(&["api"]), None, AskKind::Acquire).into_ready().is_ok(),
            );
        }));
    }
    variants.push(variant(threads, "limitador", |i| {
        let values = std::collections::HashMap::from([("k".to_owned(), key(i).to_owned())]);
        let context = Context::from(values);
        let result = limitador.check_rate_limited_and_update(&"api".into(), &context, 1);
        black_box(result.is_ok());
    }));
    variants.push(variant(threads, "moka, a look-up alone", |i| {
        black_box(cache.get(key(i)));
    }));

    let taken = run_alternately(&mut variants, ROUNDS, TIMES);
    let medians: Vec<_> = taken.into_iter().map(median).collect();
    for (variant, ns) in variants.iter().zip(&medians) {
        println!("| {scenario} | {} | {ns:.0} | {:.2} |", variant.name, ns / medians[0]);
    }
}

fn variant<'a>(threads: usize, name: &'a str, once: impl Fn(usize) + Sync + 'a) -> Variant<'a> {
    match threads {
        1 => Variant::new(name, once),
        _ => Variant::on_two_threads(name, once),
    }
}

fn limiter(algorithm: Algorithm) -> Limiter {
    let limiter = Limiter::new(MemoryStorage::new());
    // The log stores every request of its window: a short window, so that all requests are allowed
    // here too.
    let rule = match algorithm {
        Algorithm::SlidingWindowLog => Rule::new("api", 1_000_000, Duration::from_millis(1)),
        _ => Rule::per_second("api", 4_000_000_000),
    };
    limiter.add_rule(rule.algorithm(algorithm)).expect("the rule is in range");
    limiter
}

fn limitador(keys: usize) -> Limitador {
    let storage = in_memory::InMemoryStorage::new(keys as u64 + 1);
    let limiter = Limitador::new_with_storage(Box::new(storage));
    let variable = "k".try_into().expect("a plain name");
    limiter.add_limit(Limit::new("api", u64::MAX, 1, vec![], vec![variable]));
    limiter
}
