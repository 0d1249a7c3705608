//! The end of a limiter: waiting for its work in the background.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use super::handle::Limiter;
use crate::{
    complete_on_drop::{Work, finish},
    time::{Clock, SystemClock},
};

impl Limiter {
    /// Waits until refunds, reconciliations and releases in the background are done, for at most `deadline`, and
    /// returns whether all of them succeeded.
    ///
    /// Call it after the server has stopped and before the process ends; work that is still in the background then is
    /// lost. It also returns unused leases to the storage, replays deferred charges, and waits for permits that are
    /// still in use. An in-memory storage has nothing to wait for.
    ///
    /// The result is `false`, and a warning is logged, if the deadline passed, for example because a request still
    /// holds a permit, or if something was lost, for example because the storage failed or a runtime ended before its
    /// tasks. Lost permits are free when their lease expires; a charge that was not refunded expires by its rule.
    ///
    /// Limiters with the same storage share its leases, permits and deferred charges: call this for each of them, after
    /// the last request. Later calls still work, but leases end: each decision calls the storage.
    ///
    /// The deadline is in real time, even if the limiter has a clock of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # async fn serve() {}
    /// # async fn example(limiter: throttle_core::Limiter) {
    /// serve().await; // returns after a signal, when the last request has ended
    /// limiter.shutdown(Duration::from_secs(5)).await;
    /// # }
    /// ```
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let mut work = pin!(self.complete_work());
        let mut end = SystemClock.sleep(deadline);
        let done = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => end.as_mut().poll(cx).map(|()| None),
        });
        done.await.unwrap_or_else(|| {
            let refunds = self.inner.pending.count();
            tracing::warn!(
                target: "ratethrottle::limiter",
                ?deadline,
                refunds,
                "the shutdown is incomplete: its deadline has passed"
            );
            false
        })
    }

    /// Runs work that must complete, such as a refund, in a destructor. It runs on the runtime of the storage if there
    /// is one, otherwise immediately until it has to wait; `spawn` receives the rest. [`Limiter::shutdown`] waits for
    /// the work.
    #[doc(hidden)] // for adapters
    pub fn finish(&self, work: Work, spawn: impl FnOnce(Work)) {
        // If the storage has a runtime, do not poll the work here: its timers would belong to the current runtime,
        // which may end first, like that of a worker thread.
        if let Err(work) = self.inner.storage.spawn(work) {
            finish(work, |rest| spawn(Box::pin(self.inner.pending.track(rest))));
        }
    }

    async fn complete_work(&self) -> bool {
        let lost = self.inner.pending.wait().await;
        if lost > 0 {
            tracing::warn!(target: "ratethrottle::limiter", lost, "refunds or reconciliations were lost: their runtime ended first");
        }
        let storage = self.inner.storage.shutdown().await;
        if let Err(error) = &storage {
            tracing::warn!(target: "ratethrottle::storage", %error, "the shutdown of the storage is incomplete");
        }
        lost == 0 && storage.is_ok()
    }
}
