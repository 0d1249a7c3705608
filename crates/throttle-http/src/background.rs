//! Work on charges that is done even if its request is given up.

use std::future::Future;

use throttle_core::complete_on_drop::{self, CompleteOnDrop, Work};
use tokio::runtime::Handle;

/// Returns a future that does `work`; dropped before the end, it leaves the rest to [`finish`].
pub(crate) fn complete<T>(work: impl Future<Output = T> + Send + 'static) -> CompleteOnDrop<T> {
    CompleteOnDrop::new(work, finish_boxed)
}

/// Does work from within a destructor: at once what an in-memory storage does, in a task of the tokio runtime
/// that this thread is in what has to wait. Without a runtime, work that has to wait is only begun.
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
