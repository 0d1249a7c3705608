//! Limiters that share a storage through `Arc<dyn Storage>`.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, Limiter, Rule, Storage, StorageError, Value, async_trait};
use throttle_memory::MemoryStorage;

use crate::six::SixOperations;

/// A storage that yields between a read and a write.
#[derive(Default)]
struct Yielding(SixOperations);

#[async_trait]
impl Storage for Yielding {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let value = self.0.get(key).await;
        tokio::task::yield_now().await;
        value
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        tokio::task::yield_now().await;
        self.0.set(key, value, ttl).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        self.0.increment(key, amount, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.0.delete(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.0.exists(key).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.0.clear().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_limiters_on_one_storage_share_the_limit_exactly() {
    let storages: [Arc<dyn Storage>; 2] =
        [Arc::new(MemoryStorage::new()), Arc::new(Yielding::default())];
    for (storage, algorithm) in storages.iter().flat_map(|one| Algorithm::ALL.map(|a| (one, a))) {
        let tasks: Vec<_> = [0, 1]
            .map(|_| Limiter::new(Arc::clone(storage)))
            .into_iter()
            .flat_map(|limiter| {
                limiter
                    .add_rule(Rule::per_day(algorithm.as_str(), 300).algorithm(algorithm))
                    .unwrap();
                vec![limiter; 4]
            })
            .map(|limiter| {
                tokio::spawn(async move {
                    let mut allowed = 0;
                    for _ in 0..50 {
                        let decision = limiter.check("k", algorithm.as_str()).await.unwrap();
                        allowed += u64::from(decision.is_allowed());
                    }
                    allowed
                })
            })
            .collect();
        let mut allowed = 0;
        for task in tasks {
            allowed += task.await.unwrap();
        }
        assert_eq!(allowed, 300, "{algorithm}: allowed of 400 requests");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_with_the_same_rules_in_any_order_never_deadlock() {
    let storage: Arc<dyn Storage> = Arc::new(Yielding::default());
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let limiter = Limiter::new(Arc::clone(&storage));
            for name in ["a", "b", "c"] {
                limiter.add_rule(Rule::per_day(name, 1_000_000)).unwrap();
            }
            tokio::spawn(async move {
                let mut names = ["a", "b", "c"];
                names.rotate_left(task % 3);
                for _ in 0..100 {
                    limiter.check_all("k", &names).await.unwrap();
                }
                limiter
            })
        })
        .collect();
    let all = async {
        let mut limiters = Vec::new();
        for task in tasks {
            limiters.push(task.await.unwrap());
        }
        limiters
    };
    let limiters =
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("the requests deadlocked");
    let decision = limiters[0].peek("k", "a").await.unwrap();
    assert_eq!(decision.remaining(), 1_000_000 - 800);
}

#[tokio::test]
async fn a_dyn_storage_keeps_its_kind() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    assert_eq!(Limiter::new(storage).status().storage, "memory");
    let storage: Arc<dyn Storage> = Arc::new(Arc::new(Yielding::default()));
    assert_eq!(Limiter::new(storage).status().storage, "Yielding");
    let again = Limiter::new(Arc::clone(Limiter::new(MemoryStorage::new()).storage()));
    assert_eq!(again.status().storage, "memory", "the storage of a limiter can be used by another");
}
