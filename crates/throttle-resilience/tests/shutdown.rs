//! The shutdown of wrapped storages: leases are returned, and deferred charges are replayed.

mod common;

use std::time::Duration;

use common::{Behaviour, FaultyStorage, count_allowed, fixed, limiter};
use throttle_memory::MemoryStorage;
use throttle_resilience::{FailureModes, LeaseBudget, Resilience, Resilient};

const LONG: Duration = Duration::from_secs(60);

fn resilient(storage: &FaultyStorage) -> Resilient {
    Resilience::new(storage.clone())
        .deadline(LONG)
        .failure_modes(FailureModes::local(MemoryStorage::new(), 1))
        .lease("r", LeaseBudget::percent(10))
        .denial_cache(100)
        .build()
}

#[tokio::test]
async fn leases_are_returned_when_it_ends_and_later_calls_work() {
    for behaviour in [Behaviour::AtOnce, Behaviour::Later(Duration::from_millis(1))] {
        let storage = FaultyStorage::new(behaviour);
        let wrapped = resilient(&storage);
        let leased = limiter(wrapped.clone(), [fixed("r", 10_000)]);
        let plain = limiter(storage.memory.clone(), [fixed("r", 10_000)]);
        assert_eq!(count_allowed(&leased, "k", "r", 100).await, 100);
        assert!(plain.peek("k", "r").await.unwrap().remaining() < 9_900, "a lease is held");
        assert!(leased.shutdown(LONG).await);
        assert_eq!(plain.peek("k", "r").await.unwrap().remaining(), 9_900);
        assert_eq!(count_allowed(&leased, "k", "r", 100).await, 100);
        assert_eq!(plain.peek("k", "r").await.unwrap().remaining(), 9_800, "nothing is leased");
    }
}

#[tokio::test]
async fn leases_that_the_storage_does_not_take_back_are_reported() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let leased = limiter(resilient(&storage), [fixed("r", 10_000)]);
    count_allowed(&leased, "k", "r", 100).await;
    storage.refund(Behaviour::Fails);
    assert!(!leased.shutdown(LONG).await);
}

#[tokio::test]
async fn deferred_charges_are_replayed_if_the_storage_answers() {
    let storage = FaultyStorage::new(Behaviour::Fails);
    let wrapped = resilient(&storage);
    let limiter = limiter(wrapped.clone(), [fixed("other", 100)]);
    assert_eq!(count_allowed(&limiter, "k", "other", 3).await, 3);
    assert_eq!(wrapped.stats().fallback.deferred, 1);
    assert!(!limiter.shutdown(LONG).await, "the storage is still down");
    assert_eq!(wrapped.stats().fallback.deferred, 1);
    storage.be(Behaviour::AtOnce);
    assert!(limiter.shutdown(LONG).await);
    let plain = common::limiter(storage.memory.clone(), [fixed("other", 100)]);
    assert_eq!(plain.peek("k", "other").await.unwrap().remaining(), 97);
}

#[tokio::test]
async fn a_storage_that_hangs_is_not_waited_for_after_the_deadline() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let leased = limiter(resilient(&storage), [fixed("r", 10_000)]);
    count_allowed(&leased, "k", "r", 100).await;
    storage.be(Behaviour::Hangs);
    assert!(!leased.shutdown(Duration::from_millis(50)).await);
}
