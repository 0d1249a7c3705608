//! Callbacks for changes of state.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// The callbacks that users registered for one kind of change.
pub(crate) struct Observers<T>(Vec<Callback<T>>);

type Callback<T> = Arc<dyn Fn(&T) + Send + Sync>;

impl<T> Observers<T> {
    pub(crate) fn add(&mut self, callback: impl Fn(&T) + Send + Sync + 'static) {
        self.0.push(Arc::new(callback));
    }

    /// Calls all callbacks. A panic is logged and affects neither the request nor the storage.
    pub(crate) fn notify(&self, change: &T) {
        for callback in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| callback(change))).is_err() {
                tracing::error!(
                    target: "ratethrottle::resilience",
                    "an on_change callback panicked"
                );
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
