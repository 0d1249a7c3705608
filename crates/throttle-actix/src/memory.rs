//! The storage of a throttle that is made of a rule alone.

use throttle_core::Limiter;

/// Creates a limiter in memory, where the feature is on.
#[cfg(feature = "memory")]
pub(crate) const MEMORY: Option<fn() -> Limiter> =
    Some(|| Limiter::new(throttle_memory::MemoryStorage::new()));
#[cfg(not(feature = "memory"))]
pub(crate) const MEMORY: Option<fn() -> Limiter> = None;
