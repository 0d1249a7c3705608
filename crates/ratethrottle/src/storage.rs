//! Storages in depth: atomic requests, shared lists, errors, and the builder of `MemoryStorage`.
//!
//! Start with [`Storage`](crate::Storage): a custom storage needs only its six operations. Implement
//! [`AtomicStorage`] for a storage that decides whole requests itself, with the arithmetic of
//! [`engine`](crate::engine), and [`Wrapper`] for a storage that wraps another one.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # {
//! use std::sync::Arc;
//! use ratethrottle::{MemoryStorage, Storage, storage::{AtomicStorage, Scope}};
//!
//! let memory = MemoryStorage::builder().max_entries(100_000).build();
//! let storage: Arc<dyn AtomicStorage> = Arc::new(memory).atomic();
//! assert_eq!(storage.scope(), Scope::Process);
//! # }
//! ```

pub use throttle_core::{
    AtomicStorage, Charge, ChargeRequest, Effect, Emulated, ListEntry, ListStorage, ListSubscriber,
    ListSubscription, OwnedCharge, OwnedChargeRequest, Refund, Reply, Scope, StorageCall, Wrapper,
};
#[cfg(feature = "memory")]
pub use throttle_memory::MemoryStorageBuilder;
