//! Work on charges that completes even if its request is cancelled.

use std::future::Future;

use throttle_core::{
    Limiter,
    complete_on_drop::{CompleteOnDrop, Work},
};
use tokio::runtime::Handle;

/// Returns a future that does `work` on the charges of a limiter. If it is dropped early, [`finish`] does the rest.
pub(crate) fn complete<W>(
    limiter: &Limiter,
    work: W,
) -> CompleteOnDrop<W::Output, impl FnOnce(Work) + Unpin + use<W>>
where
    W: Future + Send + 'static,
{
    let limiter = limiter.clone();
    CompleteOnDrop::new(work, move |rest| finish_boxed(&limiter, rest))
}

/// Does work on the charges of a limiter in a destructor. If the storage has its own runtime, as Redis does, the work
/// runs there. Otherwise, it runs immediately until it has to wait, which it never does with an in-memory storage, and
/// the rest runs in a task of the current tokio runtime. Outside of a runtime, the rest is dropped.
/// [`Limiter::shutdown`] waits for it.
pub(crate) fn finish(limiter: &Limiter, work: impl Future<Output = ()> + Send + 'static) {
    finish_boxed(limiter, Box::pin(work));
}

fn finish_boxed(limiter: &Limiter, work: Work) {
    limiter.finish(work, |rest| {
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(rest);
        }
    });
}
