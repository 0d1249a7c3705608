//! A failing storage is not called, and is called again when it has recovered.

mod common;

use std::time::Duration;

use common::{Behaviour, FaultyStorage, fixed, limiter, until};
use throttle_core::{Algorithm, Charge, Effect, Error, Key, Rule, Storage};
use throttle_resilience::{
    CircuitBreaker, CircuitBreakerConfig, CircuitState, Deadline, Error as Why,
};

const SOON: Duration = Duration::from_secs(5);

fn circuit() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new().open_duration(Duration::from_millis(50))
}

#[tokio::test]
async fn a_failing_storage_is_not_called_until_a_probe_succeeds() {
    let storage = FaultyStorage::new(Behaviour::Fails);
    let breaker = CircuitBreaker::new(storage.clone(), circuit().open_duration(SOON));
    let limiter = limiter(breaker.clone(), [fixed("r", 1_000)]);
    for _ in 0..1_000 {
        limiter.check("k", "r").await.unwrap_err();
    }
    assert_eq!(storage.calls(), 10, "the tenth failure opens the circuit");
    let Error::Storage(error) = limiter.check("k", "r").await.unwrap_err() else { panic!() };
    assert_eq!(error.effect(), Effect::None);
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.downcast_ref(), Some(&Why::CircuitOpen));
    let stats = breaker.stats();
    assert_eq!((stats.state, stats.failed, stats.rejected), (CircuitState::Open, 10, 991));

    let breaker = CircuitBreaker::new(storage.clone(), circuit());
    let limiter = common::limiter(breaker.clone(), [fixed("r", 1_000)]);
    for _ in 0..20 {
        limiter.check("k", "r").await.unwrap_err();
    }
    storage.be(Behaviour::AtOnce);
    until("an answer", SOON, || async { limiter.check("k", "r").await.is_ok() }).await;
    assert_eq!(breaker.stats().state, CircuitState::Closed);
    for _ in 0..100 {
        limiter.check("k", "r").await.unwrap();
    }
}

#[tokio::test]
async fn refunds_resets_and_operations_share_the_circuit() {
    let storage = FaultyStorage::new(Behaviour::Fails);
    let breaker = CircuitBreaker::new(storage.clone(), circuit().open_duration(SOON));
    let limiter = limiter(breaker.clone(), [fixed("r", 1_000)]);
    for _ in 0..2 {
        limiter.refund("k", "r", 1).await.unwrap_err();
        limiter.reset("k", "r").await.unwrap_err();
        limiter.peek("k", "r").await.unwrap_err();
        breaker.get("k").await.unwrap_err();
        breaker.increment("k", 1, None).await.unwrap_err();
    }
    let calls = storage.calls();
    assert_eq!((calls, breaker.stats().state), (10, CircuitState::Open));
    limiter.refund("k", "r", 1).await.unwrap_err();
    limiter.reset("k", "r").await.unwrap_err();
    breaker.set("k", "v".into(), None).await.unwrap_err();
    assert_eq!(storage.calls(), calls);
}

#[tokio::test]
async fn a_corrupt_key_does_not_open_the_circuit() {
    let storage = FaultyStorage::new(Behaviour::Corrupt);
    let breaker = CircuitBreaker::new(storage.clone(), circuit());
    let limiter = limiter(breaker.clone(), [fixed("r", 1_000)]);
    for _ in 0..100 {
        limiter.check("k", "r").await.unwrap_err();
    }
    let stats = breaker.stats();
    assert_eq!((stats.state, stats.failed, storage.calls()), (CircuitState::Closed, 0, 100));
}

#[tokio::test]
async fn slow_and_late_answers_open_the_circuit() {
    let slow = Duration::from_millis(20);
    let storage = FaultyStorage::new(Behaviour::Later(slow));
    let breaker =
        CircuitBreaker::new(storage, circuit().slow_call_threshold(slow / 4).open_duration(SOON));
    let own = limiter(breaker.clone(), [fixed("r", 1_000)]);
    for _ in 0..10 {
        own.check("k", "r").await.unwrap();
    }
    let stats = breaker.stats();
    assert_eq!((stats.state, stats.slow), (CircuitState::Open, 10));

    let storage = FaultyStorage::new(Behaviour::Hangs);
    let deadline = Deadline::new(storage, Duration::from_millis(5));
    let breaker = CircuitBreaker::new(deadline, circuit().open_duration(SOON));
    let own = limiter(breaker.clone(), [fixed("r", 1_000)]);
    for _ in 0..10 {
        own.check("k", "r").await.unwrap_err();
    }
    assert_eq!(breaker.stats().state, CircuitState::Open);
}

#[tokio::test]
async fn a_dropped_probe_does_not_keep_the_circuit_open() {
    let storage = FaultyStorage::new(Behaviour::Fails);
    let breaker = CircuitBreaker::new(storage.clone(), circuit());
    let limiter = limiter(breaker.clone(), [fixed("r", 1_000)]);
    for _ in 0..10 {
        limiter.check("k", "r").await.unwrap_err();
    }
    storage.be(Behaviour::Hangs);
    tokio::time::sleep(Duration::from_millis(60)).await;
    let probe = tokio::time::timeout(Duration::from_millis(20), limiter.check("k", "r")).await;
    assert!(probe.is_err(), "it hangs, and is dropped");
    storage.be(Behaviour::AtOnce);
    limiter.check("k", "r").await.expect("the next one probes at once");
    assert_eq!(breaker.stats().state, CircuitState::Closed);
}

/// Covers flipped bits, truncated states, and numbers that no rule leads to.
#[tokio::test]
async fn a_corrupt_state_is_a_key_error_and_does_not_open_the_circuit() {
    let storage = throttle_testkit::storages::Later::default();
    let breaker = CircuitBreaker::new(storage.clone(), circuit().open_duration(SOON));
    let (mut errors, mut random) = (0, 1_u64);
    for algorithm in Algorithm::ALL {
        let rule = Rule::per_day("r", 100).algorithm(algorithm).block(Duration::from_secs(9));
        let rule = std::sync::Arc::new(rule.check().unwrap());
        let limiter = limiter(breaker.clone(), [Rule::per_day("r", 100).algorithm(algorithm)]);
        let (key, other) = (Key::from("k"), Key::from(algorithm.as_str()));
        let name = Charge::new(&key, &rule, 1).storage_key();
        limiter.reset(&key, "r").await.unwrap();
        for _ in 0..3 {
            limiter.check(&key, "r").await.unwrap();
        }
        let right = storage.get(&name).await.unwrap().unwrap();
        for _ in 0..150 {
            let mut wrong = right.as_bytes().to_vec();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = (random >> 33) as usize % wrong.len();
            match random >> 60 {
                0..4 => wrong.truncate(place),
                4..8 => wrong[place] = 0xff,
                8..10 => wrong.push(place as u8),
                _ => wrong[place] ^= 1 << ((random >> 50) % 8),
            }
            storage.set(&name, wrong.clone().into(), None).await.unwrap();
            if let Err(error) = limiter.check(&key, "r").await {
                let Error::Storage(error) = error else { panic!("{error}") };
                assert!(error.is_of_key() && error.effect() == Effect::None, "{error}: {wrong:?}");
                errors += 1;
            }
            limiter.check_cost(&other, "r", 1).await.unwrap();
        }
        assert_eq!(limiter.peek(&other, "r").await.unwrap().remaining(), 0, "nothing was missed");
    }
    assert!(errors > 200, "{errors}");
    assert_eq!(breaker.stats().state, CircuitState::Closed);
}
