//! Work in the background, which a shutdown waits for.

use std::{
    fmt,
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::*},
    },
    task::{Poll, Waker},
};

/// A count of work in the background. Clones share it.
#[derive(Clone, Default)]
pub struct PendingWork {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    pending: AtomicUsize,
    lost: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

/// A guard that counts one piece of work as pending, and as lost if it is dropped before
/// [`complete`](Self::complete).
#[must_use = "the work counts as lost when this is dropped"]
pub struct Pending {
    inner: Arc<Inner>,
    is_complete: bool,
}

impl PendingWork {
    /// Counts one more piece of work.
    pub fn begin(&self) -> Pending {
        self.inner.pending.fetch_add(1, Relaxed);
        Pending { inner: Arc::clone(&self.inner), is_complete: false }
    }

    /// Returns `work`, which counts from now on. It is lost if it panics, or if its runtime ends before it completes.
    pub fn track<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let pending = self.begin();
        async move {
            let output = work.await;
            pending.complete();
            output
        }
    }

    /// Returns the number of pieces of work that are pending.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.pending.load(Acquire)
    }

    /// Returns whether a shutdown waits for the work.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.inner.waiting().is_empty()
    }

    /// Waits until nothing is pending, and returns how much was lost since the last wait.
    pub async fn wait(&self) -> u64 {
        poll_fn(|cx| {
            let mut waiting = self.inner.waiting();
            if self.count() == 0 {
                return Poll::Ready(());
            }
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
        self.inner.lost.swap(0, Relaxed)
    }
}

impl Pending {
    /// Records that the work has completed.
    pub fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_complete {
            self.inner.lost.fetch_add(1, Relaxed);
        }
        if self.inner.pending.fetch_sub(1, AcqRel) == 1 {
            // The lock orders this with `wait`, which counts and registers under it.
            let waiting = std::mem::take(&mut *self.inner.waiting());
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PendingWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingWork").field(&self.count()).finish()
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        pin::pin,
        task::{Context, Waker},
        thread,
    };

    use super::*;

    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_wait_ends_when_all_work_has_completed_or_is_lost() {
        let work = PendingWork::default();
        assert_eq!(poll(work.wait()), Poll::Ready(0));
        let (one, other) = (work.begin(), work.begin());
        let mut wait = pin!(work.wait());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        one.complete();
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        drop(other);
        assert_eq!(wait.as_mut().poll(&mut cx), Poll::Ready(1));
        assert_eq!(poll(work.wait()), Poll::Ready(0), "a loss is reported once");
    }

    #[test]
    fn tracked_work_that_is_dropped_is_lost_even_if_it_was_never_polled() {
        let work = PendingWork::default();
        let never = work.track(pending::<()>());
        assert_eq!(work.count(), 1);
        drop(never);
        assert_eq!(poll(work.track(async { 7 })), Poll::Ready(7));
        assert_eq!((work.count(), poll(work.wait())), (0, Poll::Ready(1)));
    }

    #[test]
    fn work_that_completes_on_other_threads_wakes_the_wait() {
        let work = PendingWork::default();
        for _ in 0..1_000 {
            let all: Vec<_> = (0..2).map(|_| work.begin()).collect();
            thread::scope(|scope| {
                for one in all {
                    scope.spawn(|| one.complete());
                }
                let waiting = thread::current();
                let waker = Waker::from(Arc::new(Unpark(waiting)));
                let (mut wait, mut cx) = (pin!(work.wait()), Context::from_waker(&waker));
                while wait.as_mut().poll(&mut cx).is_pending() {
                    thread::park();
                }
            });
        }
    }

    struct Unpark(thread::Thread);

    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
}
