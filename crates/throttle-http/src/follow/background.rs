//! What is to be done also where nobody waits for it any more.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::runtime::Handle;

/// Has work done by a task of the tokio runtime that this thread is in.
///
/// What a storage in memory does is done when this returns. Without a runtime, work that has to wait is
/// only begun.
pub(super) fn finish(work: impl Future<Output = ()> + Send + 'static) {
    let mut work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(work);
    if begin(work.as_mut()).is_ready() {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(work);
    }
}

/// Begins work from within a destructor; what panics is logged, and over.
///
/// A handler that panics has its destructors run: a storage that then panics as well would end the
/// process.
pub(crate) fn begin(work: Pin<&mut (impl Future<Output = ()> + ?Sized)>) -> Poll<()> {
    let poll = AssertUnwindSafe(|| work.poll(&mut Context::from_waker(Waker::noop())));
    catch_unwind(poll).unwrap_or_else(|_| {
        tracing::error!("a charge was not given back or settled: that panicked");
        Poll::Ready(())
    })
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            finish(async { resume_unwind(Box::new("in a destructor")) });
        }
    }

    #[test]
    fn work_that_panics_while_another_panic_is_under_way_does_not_end_the_process() {
        let both = catch_unwind(|| {
            let _panics = Panics;
            resume_unwind(Box::new("in a handler"))
        });
        let payload: Result<(), _> = both;
        assert_eq!(payload.unwrap_err().downcast_ref::<&str>(), Some(&"in a handler"));
    }
}
