//! Refunds that the storage fails: one that was certainly not made is made again, another one is not.

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

/// A memory storage that fails the calls that a test names, each once.
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
        let Some(place) = fails.iter().position(|(other, _)| *other == call) else {
            return forward(&self.inner);
        };
        let effect = fails.remove(place).1;
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

/// Makes a limiter whose key "k" was charged 5 by the first rule, and 3 by all.
async fn charged() -> (Limiter, FailsOnce, Vec<Decision>) {
    let storage =
        FailsOnce { inner: Arc::new(MemoryStorage::new()).atomic(), fails: Arc::default() };
    let limiter = Limiter::new(storage.clone());
    for name in ["a", "b"] {
        limiter.add_rule(Rule::per_day(name, 10)).unwrap();
    }
    limiter.check_cost("k", "a", 5).await.unwrap();
    let decisions =
        limiter.begin(&"k".into(), Some(&["a", "b"]), Some(3), AskKind::Acquire).await.unwrap();
    (limiter, storage, decisions.all().to_vec())
}

async fn left(limiter: &Limiter) -> [u64; 2] {
    let now = limiter.begin(&"k".into(), Some(&["a", "b"]), None, AskKind::Peek).await.unwrap();
    [now.all()[0].remaining(), now.all()[1].remaining()]
}

#[tokio::test]
async fn a_refund_that_was_certainly_not_made_is_made_when_it_is_asked_for_again() {
    let (limiter, storage, decisions) = charged().await;
    for _ in 0..2 {
        storage.fail(StorageCall::Refund, Effect::None);
        limiter.rollback("k", &decisions).await.unwrap_err();
        storage.fail(StorageCall::Refund, Effect::None);
        limiter.reconcile("k", &decisions, 1).await.unwrap_err();
        assert_eq!(left(&limiter).await, [2, 7]);
    }
    for _ in 0..2 {
        limiter.rollback("k", &decisions).await.unwrap();
        assert_eq!(left(&limiter).await, [5, 10]);
    }
}

#[tokio::test]
async fn a_refund_that_may_have_been_made_is_not_made_again() {
    let (limiter, storage, decisions) = charged().await;
    storage.fail(StorageCall::Refund, Effect::Unknown);
    limiter.rollback("k", &decisions).await.unwrap_err();
    limiter.rollback("k", &decisions).await.unwrap();
    limiter.reconcile("k", &decisions, 5).await.unwrap();
    assert_eq!(left(&limiter).await, [2, 7]);
}

#[tokio::test]
async fn a_charge_that_was_certainly_not_made_is_made_when_it_is_reconciled_again() {
    let (limiter, storage, decisions) = charged().await;
    storage.fail(StorageCall::Acquire, Effect::None);
    limiter.reconcile("k", &decisions, 4).await.unwrap_err();
    assert_eq!(left(&limiter).await, [2, 7]);
    for _ in 0..2 {
        assert_eq!(limiter.reconcile("k", &decisions, 4).await.unwrap(), 0);
        assert_eq!(left(&limiter).await, [1, 6]);
    }
}

#[tokio::test]
async fn a_charge_that_may_have_been_made_is_not_made_again_but_those_after_it_are() {
    let (limiter, storage, decisions) = charged().await;
    storage.fail(StorageCall::Acquire, Effect::Unknown);
    limiter.reconcile("k", &decisions, 4).await.unwrap_err();
    limiter.reconcile("k", &decisions, 4).await.unwrap();
    assert_eq!(left(&limiter).await, [2, 6]);
}

#[tokio::test]
async fn after_a_refund_that_may_have_been_made_the_charges_are_still_made() {
    let (limiter, storage, mut decisions) = charged().await;
    decisions[0] = limiter.check("k", "a").await.unwrap();
    storage.fail(StorageCall::Refund, Effect::Unknown);
    for expected in [[1, 7], [0, 7], [0, 7]] {
        _ = limiter.reconcile("k", &decisions, 2).await;
        assert_eq!(left(&limiter).await, expected, "of b 3 were charged, and 1 may be refunded");
    }
}

#[tokio::test]
async fn two_tasks_refund_once_also_where_the_first_call_fails() {
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
        assert_eq!(left(&limiter).await, [5, 10], "{effect:?}");
    }
}

#[tokio::test]
async fn a_refund_that_is_given_up_is_not_made_again() {
    let (limiter, storage, decisions) = charged().await;
    storage.fail(StorageCall::Refund, Effect::None);
    let mut refund = Box::pin(limiter.rollback("k", &decisions));
    tokio::select! {
        biased;
        _ = &mut refund => panic!("it yields"),
        () = std::future::ready(()) => {}
    }
    drop(refund);
    limiter.rollback("k", &decisions).await.unwrap();
    assert_eq!(left(&limiter).await, [2, 7], "nobody knows whether it was made");
}
