//! Storages that wrap another storage: the limiter uses and validates their outcomes.

use std::sync::Arc;

use throttle_core::{
    AtomicStorage, ChargeRequest, Error, Limiter, Outcome, Reply, Rule, Scope, Storage, Wrapper,
};
use throttle_memory::MemoryStorage;

/// Changes the outcomes of a memory storage.
#[derive(Clone)]
struct Wrapped {
    inner: Arc<dyn AtomicStorage>,
    change: fn(Outcome) -> Outcome,
}

impl Wrapper for Wrapped {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner
    }

    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.inner.acquire(request).map(self.change)
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn kind(&self) -> &str {
        "wrapped"
    }
}

fn limiter(change: fn(Outcome) -> Outcome) -> Limiter {
    let limiter = Limiter::new(Wrapped { inner: Arc::new(MemoryStorage::new()).atomic(), change });
    limiter.add_rule(Rule::per_day("a", 5)).unwrap();
    limiter.add_rule(Rule::per_day("b", 5)).unwrap();
    limiter
}

#[tokio::test]
async fn a_degraded_outcome_is_reported_in_every_decision() {
    let limiter = limiter(Outcome::degraded);
    assert!(limiter.check("k", "a").await.unwrap().is_degraded());
    let decisions = limiter.check_all("k", &["a", "b"]).await.unwrap();
    assert!(decisions.all().iter().all(|one| one.is_degraded()));
    assert!(!limiter.peek("k", "a").await.unwrap().is_degraded());
    let status = limiter.status();
    assert_eq!((status.storage.as_str(), status.scope), ("wrapped", Scope::Shared));
}

#[tokio::test]
async fn an_outcome_without_a_verdict_for_every_rule_is_an_error() {
    let short =
        |outcome: Outcome| Outcome::new(outcome.verdicts().iter().skip(1).copied(), outcome.at());
    let limiter = limiter(short);
    for rules in [&["a"][..], &["a", "b"]] {
        let error = limiter.check_all("k", rules).await.unwrap_err();
        assert!(matches!(error, Error::Storage(_)), "{error}");
    }
    assert_eq!((limiter.metrics().errors, limiter.metrics().allowed), (2, 0));
}
