//! Refunds that fail in the storage: a refund is repeated only if it was certainly not executed.

use std::{
    slice,
    sync::{Arc, Mutex},
};

use throttle_core::{
    AskKind, AtomicStorage, Decision, Effect, Limiter, Reply, Rule, Storage, StorageCall,
    StorageError, Wrapper,
};
use throttle_memory::MemoryStorage;
use tokio::task::yield_now;

/// A memory storage that fails planned calls, each once.
#[derive(Clone)]
struct FailsOnce {
    inner: Arc<dyn AtomicStorage>,
    fails: Arc<Mutex<Vec<(StorageCall, Effect)>>>,
}

impl Wrapper for FailsOnce {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner
    }

    fn around<T: Send + 'static>(
        &self,
        call: StorageCall,
        forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
    ) -> Reply<T> {
        let mut fails = self.fails.lock().unwrap();
        let Some(index) = fails.iter().position(|(other, _)| *other == call) else {
            return forward(&self.inner);
        };
        let effect = fails.remove(index).1;
        Reply::pending(async move {
            yield_now().await;
            Err(match effect {
                Effect::None => StorageError::not_carried_out("connection refused"),
                Effect::Unknown => StorageError::other("connection reset"),
            })
        })
    }
}

impl FailsOnce {
    fn fail(&self, call: StorageCall, effect: Effect) {
        self.fails.lock().unwrap().push((call, effect));
    }
}

/// Creates a limiter whose key "k" was charged 5 by the first rule, and then 3 by both.
async fn charged() -> (Limiter, FailsOnce, Vec<Decision>) {
    let storage =
        FailsOnce { inner: Arc::new(MemoryStorage::new()).atomic(), fails: Arc::default() };
    let limiter = Limiter::new(storage.clone());
    for name in ["a", "b"] {
        limiter.add_rule(Rule::per_day(name, 10)).unwrap();
    }
    limiter.check_cost("k", "a", 5).await.unwrap();
    let key = "k".into();
    let reply = limiter.begin(&key, Some(&["a", "b"]), Some(3), AskKind::Acquire);
    let decisions = reply.await.unwrap();
    (limiter, storage, decisions.all().to_vec())
}

async fn remaining(limiter: &Limiter) -> [u64; 2] {
    let key = "k".into();
    let now = limiter.begin(&key, Some(&["a", "b"]), None, AskKind::Peek).await.unwrap();
    [now.all()[0].remaining(), now.all()[1].remaining()]
}

#[tokio::test]
async fn a_refund_that_was_certainly_not_executed_can_be_repeated() {
    let (limiter, storage, decisions) = charged().await;
    for _ in 0..2 {
        storage.fail(StorageCall::Refund, Effect::None);
        limiter.rollback("k", &decisions).await.unwrap_err();
        storage.fail(StorageCall::Refund, Effect::None);
        limiter.reconcile("k", &decisions, 1).await.unwrap_err();
        assert_eq!(remaining(&limiter).await, [2, 7]);
    }
    for _ in 0..2 {
        limiter.rollback("k", &decisions).await.unwrap();
        assert_eq!(remaining(&limiter).await, [5, 10]);
    }
}

#[tokio::test]
async fn a_refund_that_may_have_been_executed_is_not_repeated() {
    let (limiter, storage, decisions) = charged().await;
    storage.fail(StorageCall::Refund, Effect::Unknown);
    limiter.rollback("k", &decisions).await.unwrap_err();
    limiter.rollback("k", &decisions).await.unwrap();
    limiter.reconcile("k", &decisions, 5).await.unwrap();
    assert_eq!(remaining(&limiter).await, [2, 7]);
}

#[tokio::test]
async fn a_charge_that_was_certainly_not_executed_is_repeated_by_the_next_reconcile() {
    let (limiter, storage, decisions) = charged().await;
    storage.fail(StorageCall::Acquire, Effect::None);
    limiter.reconcile("k", &decisions, 4).await.unwrap_err();
    assert_eq!(remaining(&limiter).await, [2, 7]);
    for _ in 0..2 {
        assert_eq!(limiter.reconcile("k", &decisions, 4).await.unwrap(), 0);
        assert_eq!(remaining(&limiter).await, [1, 6]);
    }
}

#[tokio::test]
async fn a_charge_that_may_have_been_executed_is_not_repeated_but_later_charges_are_made() {
    let (limiter, storage, decisions) = charged().await;
    storage.fail(StorageCall::Acquire, Effect::Unknown);
    limiter.reconcile("k", &decisions, 4).await.unwrap_err();
    limiter.reconcile("k", &decisions, 4).await.unwrap();
    assert_eq!(remaining(&limiter).await, [2, 6]);
}

#[tokio::test]
async fn charges_are_made_after_a_refund_that_may_have_been_executed() {
    let (limiter, storage, mut decisions) = charged().await;
    decisions[0] = limiter.check("k", "a").await.unwrap();
    storage.fail(StorageCall::Refund, Effect::Unknown);
    for expected in [[1, 7], [0, 7], [0, 7]] {
        _ = limiter.reconcile("k", &decisions, 2).await;
        assert_eq!(
            remaining(&limiter).await,
            expected,
            "b was charged 3, of which 1 may be refunded"
        );
    }
}

#[tokio::test]
async fn concurrent_refunds_are_executed_once_even_if_the_first_call_fails() {
    for effect in [None, Some(Effect::None)] {
        let (limiter, storage, decisions) = charged().await;
        if let Some(effect) = effect {
            storage.fail(StorageCall::Refund, effect);
        }
        let refund = || async {
            for one in &decisions {
                _ = limiter.rollback("k", slice::from_ref(one)).await;
            }
        };
        tokio::join!(refund(), refund());
        refund().await;
        assert_eq!(remaining(&limiter).await, [5, 10], "{effect:?}");
    }
}

#[tokio::test]
async fn a_cancelled_refund_is_not_repeated() {
    let (limiter, storage, decisions) = charged().await;
    storage.fail(StorageCall::Refund, Effect::None);
    let mut refund = Box::pin(limiter.rollback("k", &decisions));
    tokio::select! {
        biased;
        _ = &mut refund => panic!("the refund must yield"),
        () = std::future::ready(()) => {}
    }
    drop(refund);
    limiter.rollback("k", &decisions).await.unwrap();
    assert_eq!(remaining(&limiter).await, [2, 7], "it is unknown whether the refund was executed");
}
