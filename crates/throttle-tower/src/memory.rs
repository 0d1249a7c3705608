//! The storage of a layer that is built from a rule.

use throttle_core::Limiter;

/// Creates a limiter in memory; `None` without the feature `memory`.
#[cfg(feature = "memory")]
pub(crate) const MEMORY: Option<fn() -> Limiter> =
    Some(|| Limiter::new(throttle_memory::MemoryStorage::new()));
#[cfg(not(feature = "memory"))]
pub(crate) const MEMORY: Option<fn() -> Limiter> = None;
