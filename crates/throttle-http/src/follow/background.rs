//! What is to be done also where nobody waits for it any more.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::runtime::Handle;

/// Does work to its end, also if nobody waits for it any more: dropped before, it is [finished](finish).
pub(crate) struct ToItsEnd<T: 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> ToItsEnd<T> {
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<T> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // While it is polled it is not here: what has panicked must not be polled again when this is dropped.
        let Some(mut work) = self.0.take() else { return Poll::Pending }; // polled after the end
        let poll = work.as_mut().poll(cx);
        if poll.is_pending() {
            self.0 = Some(work);
        }
        poll
    }
}

impl<T> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            finish(async move { drop(work.await) });
        }
    }
}

/// Has work done by a task of the tokio runtime that this thread is in.
///
/// What a storage in memory does is done when this returns. Without a runtime, work that has to wait is
/// only begun.
pub(crate) fn finish(work: impl Future<Output = ()> + Send + 'static) {
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
fn begin(work: Pin<&mut (impl Future<Output = ()> + ?Sized)>) -> Poll<()> {
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
