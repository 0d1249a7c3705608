//! Storages in depth: whole requests in one atomic step, shared lists, errors, and the memory's builder.
//!
//! Start with [`Storage`](crate::Storage): its six operations are all that a storage of your own needs.
//! [`AtomicStorage`] is for one that decides whole requests itself, with the arithmetic of
//! [`engine`](crate::engine), and [`Wrapper`] for one that wraps another.
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
