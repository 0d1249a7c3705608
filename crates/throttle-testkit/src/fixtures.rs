//! Fixtures of the checks: a limiter with a manual clock, and unique names.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use throttle_core::{AtomicStorage, Limiter, ManualClock, Micros};

/// Creates a limiter on a storage, with a manual clock set to the beginning of 2026.
pub(crate) fn limiter_at_2026(storage: &Arc<dyn AtomicStorage>) -> (Limiter, ManualClock) {
    let clock = ManualClock::default();
    clock.set(Micros::new(1_767_225_600_000_000).to_system_time());
    (Limiter::builder(Arc::clone(storage)).clock(clock.clone()).build(), clock)
}

/// Returns a name that no other check uses.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}
