//! Concurrency permits while the storage that counts them fails.

mod common;

use std::time::{Duration, Instant};

use common::{Behaviour, FaultyStorage};
use throttle_core::{ConcurrencyLimit, ConcurrencyPermit, Limiter, Storage};
use throttle_memory::MemoryStorage;
use throttle_resilience::{
    CircuitBreaker, CircuitBreakerConfig, Deadline, DenialCache, FailureMode, FailureModes,
    Fallback, Resilience,
};

fn uploads(storage: impl Storage, limit: u64) -> ConcurrencyLimit {
    Limiter::new(storage).concurrency("uploads", limit).expect("the limit is right")
}

async fn permits(uploads: &ConcurrencyLimit, asked: usize) -> Vec<ConcurrencyPermit> {
    let mut places = Vec::new();
    for _ in 0..asked {
        let entered = uploads.try_acquire("k").await.expect("it is answered");
        places.extend(entered.into_permit());
    }
    places
}

#[tokio::test]
async fn every_wrapper_counts_the_permits_of_its_storage() {
    let faulty = FaultyStorage::new(Behaviour::AtOnce);
    let all = Resilience::new(faulty.clone()).denial_cache(100).build();
    for wrapped in [
        uploads(Deadline::new(faulty.clone(), Duration::from_secs(1)), 3),
        uploads(CircuitBreaker::new(faulty.clone(), CircuitBreakerConfig::new()), 3),
        uploads(Fallback::new(faulty.clone(), FailureModes::fail_open()), 3),
        uploads(DenialCache::new(faulty.clone(), 100), 3),
        uploads(all, 3),
    ] {
        let held = permits(&wrapped, 5).await;
        assert_eq!((held.len(), uploads(faulty.clone(), 3).in_use("k").await.unwrap()), (3, 3));
        drop(held);
        assert_eq!(wrapped.in_use("k").await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_late_permit_is_an_error_at_the_deadline() {
    let faulty = FaultyStorage::new(Behaviour::Hangs);
    let uploads = uploads(Deadline::new(faulty, Duration::from_millis(20)), 3);
    let began = Instant::now();
    assert!(uploads.try_acquire("k").await.is_err());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_open_circuit_requests_no_permits() {
    let faulty = FaultyStorage::new(Behaviour::Fails);
    let uploads = uploads(
        CircuitBreaker::new(faulty.clone(), CircuitBreakerConfig::new().window_size(20)),
        3,
    );
    for _ in 0..200 {
        assert!(uploads.try_acquire("k").await.is_err());
    }
    assert!(faulty.calls() < 100, "{} calls", faulty.calls());
}

#[tokio::test]
async fn the_failure_mode_of_its_name_decides_when_permits_cannot_be_counted() {
    let faulty = FaultyStorage::new(Behaviour::Fails);
    let closed = uploads(Fallback::new(faulty.clone(), FailureModes::fail_closed()), 6);
    assert!(closed.try_acquire("k").await.is_err());

    let open = Fallback::new(
        faulty.clone(),
        FailureModes::fail_closed().rule("uploads", FailureMode::FailOpen),
    );
    let open = uploads(open, 6);
    let held = permits(&open, 20).await;
    assert_eq!(held.len(), 20, "they are not counted");
    let acquired = open.try_acquire("k").await.unwrap();
    assert!(acquired.decision().is_degraded() && acquired.decision().is_unlimited());

    // Three instances share six permits.
    let local = Fallback::new(faulty.clone(), FailureModes::local(MemoryStorage::new(), 3));
    let stats = local.clone();
    let local = uploads(local, 6);
    let held = permits(&local, 20).await;
    assert_eq!((held.len(), stats.stats().local), (2, 20));
    drop(held);
    assert_eq!(permits(&local, 20).await.len(), 2, "they are released");
    faulty.be(Behaviour::Later(Duration::from_millis(1)));
    assert_eq!(permits(&local, 9).await.len(), 6, "the storage counts them again");
}
