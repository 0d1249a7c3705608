//! Places of requests under way, while the storage that counts them fails.

mod common;

use std::time::{Duration, Instant};

use common::{Behaviour, Moody};
use throttle_core::{ConcurrencyLimit, ConcurrencyPermit, Limiter, Storage};
use throttle_memory::MemoryStorage;
use throttle_resilience::{
    CircuitBreaker, CircuitBreakerConfig, Deadline, DenialCache, FailureMode, FailureModes,
    Fallback, Resilience,
};

fn uploads(storage: impl Storage, limit: u64) -> ConcurrencyLimit {
    Limiter::new(storage).concurrency("uploads", limit).expect("the limit is right")
}

async fn places(uploads: &ConcurrencyLimit, asked: usize) -> Vec<ConcurrencyPermit> {
    let mut places = Vec::new();
    for _ in 0..asked {
        let entered = uploads.try_acquire("k").await.expect("it is answered");
        places.extend(entered.into_permit());
    }
    places
}

#[tokio::test]
async fn every_wrapper_counts_the_places_of_its_storage() {
    let moody = Moody::new(Behaviour::AtOnce);
    let all = Resilience::new(moody.clone()).denial_cache(100).build();
    for wrapped in [
        uploads(Deadline::new(moody.clone(), Duration::from_secs(1)), 3),
        uploads(CircuitBreaker::new(moody.clone(), CircuitBreakerConfig::new()), 3),
        uploads(Fallback::new(moody.clone(), FailureModes::fail_open()), 3),
        uploads(DenialCache::new(moody.clone(), 100), 3),
        uploads(all, 3),
    ] {
        let held = places(&wrapped, 5).await;
        assert_eq!((held.len(), uploads(moody.clone(), 3).in_use("k").await.unwrap()), (3, 3));
        drop(held);
        assert_eq!(wrapped.in_use("k").await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_place_that_is_late_is_an_error_at_the_deadline() {
    let moody = Moody::new(Behaviour::Hangs);
    let uploads = uploads(Deadline::new(moody, Duration::from_millis(20)), 3);
    let began = Instant::now();
    assert!(uploads.try_acquire("k").await.is_err());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_circuit_that_is_open_asks_for_no_places() {
    let moody = Moody::new(Behaviour::Fails);
    let uploads =
        uploads(CircuitBreaker::new(moody.clone(), CircuitBreakerConfig::new().window_size(20)), 3);
    for _ in 0..200 {
        assert!(uploads.try_acquire("k").await.is_err());
    }
    assert!(moody.calls() < 100, "{} calls", moody.calls());
}

#[tokio::test]
async fn what_cannot_be_counted_goes_by_the_mode_of_its_name() {
    let moody = Moody::new(Behaviour::Fails);
    let closed = uploads(Fallback::new(moody.clone(), FailureModes::fail_closed()), 6);
    assert!(closed.try_acquire("k").await.is_err());

    let open = Fallback::new(
        moody.clone(),
        FailureModes::fail_closed().rule("uploads", FailureMode::FailOpen),
    );
    let open = uploads(open, 6);
    let held = places(&open, 20).await;
    assert_eq!(held.len(), 20, "nobody counts them");
    assert!(open.try_acquire("k").await.unwrap().decision().is_degraded());

    // Three servers share six places.
    let local = Fallback::new(moody.clone(), FailureModes::local(MemoryStorage::new(), 3));
    let figures = local.clone();
    let local = uploads(local, 6);
    let held = places(&local, 20).await;
    assert_eq!((held.len(), figures.stats().local), (2, 20));
    drop(held);
    assert_eq!(places(&local, 20).await.len(), 2, "they are given back");
    moody.be(Behaviour::Later(Duration::from_millis(1)));
    assert_eq!(places(&local, 9).await.len(), 6, "the storage counts them again");
}
