//! Callbacks that tell of changes.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Calls what users gave for changes of a kind.
pub(crate) struct Observers<T>(Vec<Callback<T>>);

type Callback<T> = Arc<dyn Fn(&T) + Send + Sync>;

impl<T> Observers<T> {
    pub(crate) fn add(&mut self, callback: impl Fn(&T) + Send + Sync + 'static) {
        self.0.push(Arc::new(callback));
    }

    /// Calls all; one that panics is logged, and harms neither the request nor the storage.
    pub(crate) fn tell(&self, change: &T) {
        for callback in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| callback(change))).is_err() {
                tracing::error!("a callback for changes of a storage's state panicked");
            }
        }
    }
}

impl<T> Clone for Observers<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Observers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> fmt::Debug for Observers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}
