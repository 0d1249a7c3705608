//! Work on charges that completes even if its request is cancelled.

use std::future::Future;

use throttle_core::complete_on_drop::{self, CompleteOnDrop, Work};
use tokio::runtime::Handle;

/// Returns a future that does `work`. If it is dropped early, [`finish`] does the rest.
pub(crate) fn complete<T>(work: impl Future<Output = T> + Send + 'static) -> CompleteOnDrop<T> {
    CompleteOnDrop::new(work, finish_boxed)
}

/// Does work in a destructor. Work that is ready, as with an in-memory storage, is done immediately, and the
/// rest in a task of the current tokio runtime. Outside of a runtime, the rest is dropped.
pub(crate) fn finish(work: impl Future<Output = ()> + Send + 'static) {
    complete_on_drop::finish(work, |rest| {
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(rest);
        }
    });
}

fn finish_boxed(work: Work) {
    finish(work);
}
