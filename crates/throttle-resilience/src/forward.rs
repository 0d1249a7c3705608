//! What every wrapper forwards in the same way.

/// Implements the six operations on a wrapper by those of its storage, each through `self.guard`.
macro_rules! guarded_operations {
    ($wrapper:ty) => {
        #[throttle_core::async_trait]
        impl throttle_core::Storage for $wrapper {
            async fn get(
                &self,
                key: &str,
            ) -> Result<Option<throttle_core::Value>, throttle_core::StorageError> {
                self.guard(self.inner.storage.get(key)).await
            }

            async fn set(
                &self,
                key: &str,
                value: throttle_core::Value,
                ttl: Option<std::time::Duration>,
            ) -> Result<(), throttle_core::StorageError> {
                self.guard(self.inner.storage.set(key, value, ttl)).await
            }

            async fn increment(
                &self,
                key: &str,
                amount: i64,
                ttl: Option<std::time::Duration>,
            ) -> Result<i64, throttle_core::StorageError> {
                self.guard(self.inner.storage.increment(key, amount, ttl)).await
            }

            async fn delete(&self, key: &str) -> Result<bool, throttle_core::StorageError> {
                self.guard(self.inner.storage.delete(key)).await
            }

            async fn exists(&self, key: &str) -> Result<bool, throttle_core::StorageError> {
                self.guard(self.inner.storage.exists(key)).await
            }

            async fn clear(&self) -> Result<u64, throttle_core::StorageError> {
                self.guard_clear(self.inner.storage.clear()).await
            }

            fn atomic(
                self: std::sync::Arc<Self>,
            ) -> std::sync::Arc<dyn throttle_core::AtomicStorage> {
                self
            }
        }
    };
}

/// Implements what a wrapper says about itself by what its storage says.
macro_rules! forwarded_facts {
    () => {
        fn scope(&self) -> throttle_core::Scope {
            self.inner.storage.scope()
        }

        fn lists(&self) -> Option<std::sync::Arc<dyn throttle_core::ListStorage>> {
            self.inner.storage.lists()
        }

        fn kind(&self) -> &str {
            self.inner.storage.kind()
        }
    };
}

/// Hands questions for places through to the storage.
macro_rules! forwarded_places {
    () => {
        fn places(&self) -> Option<std::sync::Arc<dyn throttle_core::PlaceStorage>> {
            self.inner.storage.places()
        }
    };
}

pub(crate) use {forwarded_facts, forwarded_places, guarded_operations};
