//! A storage that wraps another: it decides whole requests, so its word is taken and checked.

use std::{sync::Arc, time::Duration};

use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, Error, Limiter, ListStorage, Outcome, PlaceStorage,
    Refund, Reply, Rule, Scope, Storage, StorageError, Value, async_trait,
};
use throttle_memory::MemoryStorage;

/// Changes the outcomes of a memory storage.
struct Wrapped {
    inner: MemoryStorage,
    change: fn(Outcome) -> Outcome,
}

#[async_trait]
#[rustfmt::skip]
impl Storage for Wrapped {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        self.inner.get(key).await
    }
    async fn set(&self, key: &str, value: Value, ttl: Option<Duration>) -> Result<(), StorageError> {
        self.inner.set(key, value, ttl).await
    }
    async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, StorageError> {
        self.inner.increment(key, by, ttl).await
    }
    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.inner.delete(key).await
    }
    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.inner.exists(key).await
    }
    async fn clear(&self) -> Result<u64, StorageError> {
        self.inner.clear().await
    }
    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}

impl AtomicStorage for Wrapped {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        match self.inner.acquire(request).into_ready() {
            Ok(answer) => Reply::ready(answer.map(self.change)),
            Err(pending) => pending,
        }
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.inner.peek(request)
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        self.inner.refund(refunds, clock)
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        self.inner.reset(request)
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        self.inner.lists()
    }

    fn places(&self) -> Option<Arc<dyn PlaceStorage>> {
        self.inner.places()
    }

    fn kind(&self) -> &str {
        "wrapped"
    }
}

fn limiter(change: fn(Outcome) -> Outcome) -> Limiter {
    let limiter = Limiter::new(Wrapped { inner: MemoryStorage::new(), change });
    limiter.add_rule(Rule::per_day("a", 5)).unwrap();
    limiter.add_rule(Rule::per_day("b", 5)).unwrap();
    limiter
}

#[tokio::test]
async fn a_degraded_outcome_is_seen_in_every_decision() {
    let limiter = limiter(Outcome::degraded);
    assert!(limiter.check("k", "a").await.unwrap().is_degraded());
    let decisions = limiter.check_all("k", &["a", "b"]).await.unwrap();
    assert!(decisions.all().iter().all(|one| one.is_degraded()));
    assert!(!limiter.peek("k", "a").await.unwrap().is_degraded());
    let status = limiter.status();
    assert_eq!((status.storage.as_str(), status.scope), ("wrapped", Scope::Shared));
}

#[tokio::test]
async fn an_outcome_without_a_verdict_for_every_rule_is_an_error_and_no_pass() {
    let short =
        |outcome: Outcome| Outcome::new(outcome.verdicts().iter().skip(1).copied(), outcome.at());
    let limiter = limiter(short);
    for rules in [&["a"][..], &["a", "b"]] {
        let error = limiter.check_all("k", rules).await.unwrap_err();
        assert!(matches!(error, Error::Storage(_)), "{error}");
    }
    assert_eq!((limiter.metrics().errors, limiter.metrics().allowed), (2, 0));
}
