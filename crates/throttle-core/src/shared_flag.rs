//! A flag that the clones of a value share.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// A flag that is allocated only when it is shared or set, so values that need neither have no cost.
#[derive(Default, Debug)]
pub(crate) struct SharedFlag(OnceLock<Arc<AtomicBool>>);

impl SharedFlag {
    /// Sets the flag, and returns whether it was not set before.
    pub(crate) fn set(&self) -> bool {
        !self.flag().swap(true, Relaxed)
    }

    /// Clears the flag.
    pub(crate) fn clear(&self) {
        self.flag().store(false, Relaxed);
    }

    /// Returns a handle to the same flag, for a clone.
    pub(crate) fn share(&self) -> Self {
        Self(Arc::clone(self.flag()).into())
    }

    fn flag(&self) -> &Arc<AtomicBool> {
        self.0.get_or_init(Arc::default)
    }
}
