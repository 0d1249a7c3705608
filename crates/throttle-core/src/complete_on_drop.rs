//! Work that completes even if its owner is dropped.
//!
//! This crate has no async runtime, so the caller decides where unfinished work continues.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
};

/// Work that can continue in the background.
pub type Work<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A future that passes on its work if it is dropped before it completes.
///
/// `F` receives the unfinished work, and spawns it on a runtime or calls [`finish`]. It runs in a destructor.
pub struct CompleteOnDrop<T: 'static, F: FnOnce(Work) + Unpin = fn(Work)> {
    left: Option<(Work<T>, F)>,
}

impl<T, F: FnOnce(Work) + Unpin> CompleteOnDrop<T, F> {
    /// Creates a future that runs `work`, and calls `on_drop` with it if it is dropped before it completes.
    pub fn new(work: impl Future<Output = T> + Send + 'static, on_drop: F) -> Self {
        Self { left: Some((Box::pin(work), on_drop)) }
    }
}

impl<T, F: FnOnce(Work) + Unpin> Future for CompleteOnDrop<T, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken out before the poll: work that has panicked must not be polled again on drop.
        let Some((mut work, on_drop)) = self.left.take() else {
            return Poll::Pending; // polled after completion
        };
        let poll = work.as_mut().poll(cx);
        if poll.is_pending() {
            self.left = Some((work, on_drop));
        }
        poll
    }
}

impl<T, F: FnOnce(Work) + Unpin> Drop for CompleteOnDrop<T, F> {
    fn drop(&mut self) {
        if let Some((work, on_drop)) = self.left.take() {
            on_drop(Box::pin(async move { drop(work.await) }));
        }
    }
}

impl<T, F: FnOnce(Work) + Unpin> fmt::Debug for CompleteOnDrop<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompleteOnDrop").finish_non_exhaustive()
    }
}

/// Polls work once from within a destructor, and spawns it if it is still pending.
///
/// Work on an in-memory storage is complete when this function returns. A panic of the work is caught and logged:
/// a panic in a destructor would abort the process if that destructor runs because of another panic.
pub fn finish(mut work: Work, spawn: impl FnOnce(Work)) {
    let poll = || work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(Poll::Pending) => spawn(work),
        Ok(Poll::Ready(())) => {}
        Err(_) => {
            tracing::error!(
                target: "ratethrottle::limiter",
                "a refund, release or reconciliation failed: it panicked"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{pending, ready},
        panic::resume_unwind,
    };

    use super::*;

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn never(_: Work) {
        panic!("there is no work left");
    }

    #[test]
    fn work_that_panics_during_another_panic_does_not_abort_the_process() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                finish(Box::pin(async { resume_unwind(Box::new("in a destructor")) }), never);
            }
        }
        let both: Result<(), _> = catch_unwind(|| {
            let _panics = Panics;
            resume_unwind(Box::new("in a handler"))
        });
        assert_eq!(both.unwrap_err().downcast_ref::<&str>(), Some(&"in a handler"));
    }

    #[test]
    fn only_work_that_is_pending_on_drop_is_handed_over() {
        let handed_over = Cell::new(0);
        let count = |_: Work| handed_over.set(handed_over.get() + 1);
        let mut pending = CompleteOnDrop::new(pending::<u64>(), count);
        assert!(poll(&mut pending).is_pending());
        drop(pending);
        assert_eq!(handed_over.get(), 1);
        let mut done = CompleteOnDrop::new(ready(7), count);
        assert_eq!(poll(&mut done), Poll::Ready(7));
        drop(done);
        assert_eq!(handed_over.get(), 1);
    }

    #[test]
    fn work_that_panicked_is_not_handed_over() {
        let mut panics = CompleteOnDrop::new(async { resume_unwind(Box::new("at once")) }, never);
        assert!(
            catch_unwind(AssertUnwindSafe(|| poll::<CompleteOnDrop<(), _>>(&mut panics))).is_err()
        );
        drop(panics);
    }

    #[test]
    fn finish_polls_work_once_and_spawns_it_only_if_it_is_pending() {
        finish(Box::pin(async {}), never);
        let spawned = Cell::new(false);
        finish(Box::pin(pending()), |_| spawned.set(true));
        assert!(spawned.get());
    }
}
