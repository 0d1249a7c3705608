//! How many servers share the limits.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Says how many servers share the limits.
#[derive(Clone, Debug)]
#[must_use]
pub struct Servers {
    count: Arc<AtomicU64>,
}

impl Servers {
    /// Takes their number; 0 counts as 1.
    pub fn given(count: u64) -> Self {
        Self { count: Arc::new(AtomicU64::new(count.max(1))) }
    }

    pub(crate) fn set(&self, count: u64) {
        self.count.store(count.max(1), Relaxed);
    }

    #[inline]
    pub(crate) fn count(&self) -> NonZeroU64 {
        NonZeroU64::new(self.count.load(Relaxed)).unwrap_or(NonZeroU64::MIN)
    }
}

impl From<u64> for Servers {
    fn from(count: u64) -> Self {
        Self::given(count)
    }
}
