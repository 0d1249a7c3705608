//! The shutdown of a limiter: what it waits for, and for how long.

use std::{
    future::pending,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use throttle_core::{AtomicStorage, Limiter, Reply, Rule, Storage, StorageError, Wrapper};
use throttle_memory::MemoryStorage;
use throttle_testkit::Log;

const LONG: Duration = Duration::from_secs(3600);

/// A storage in memory with another shutdown.
#[derive(Clone)]
struct Ending {
    inner: Arc<dyn AtomicStorage>,
    shutdown: fn() -> Reply<()>,
}

impl Wrapper for Ending {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner
    }

    fn shutdown(&self) -> Reply<()> {
        (self.shutdown)()
    }
}

fn limiter(shutdown: fn() -> Reply<()>) -> Limiter {
    let limiter = Limiter::new(Ending { inner: Arc::new(MemoryStorage::new()).atomic(), shutdown });
    limiter.add_rule(Rule::per_day("r", 5)).unwrap();
    limiter
}

fn poll_once(limiter: &Limiter) -> Poll<bool> {
    pin!(limiter.shutdown(LONG)).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn in_memory_it_ends_at_once_even_with_a_permit_in_use() {
    let limiter = Limiter::new(MemoryStorage::new());
    let held = limiter.concurrency("uploads", 5).unwrap().try_acquire("k").await.unwrap();
    assert!(held.is_allowed());
    assert_eq!(poll_once(&limiter), Poll::Ready(true));
}

#[tokio::test]
async fn a_storage_that_hangs_is_not_waited_for_after_the_deadline() {
    let (log, _guard) = Log::start();
    let limiter = limiter(|| Reply::pending(pending()));
    let (deadline, began) = (Duration::from_millis(50), Instant::now());
    assert!(!limiter.shutdown(deadline).await);
    assert!(began.elapsed() >= deadline);
    let text = log.take();
    assert!(text.contains("its deadline has passed"), "{text}");
    assert!(limiter.check("k", "r").await.unwrap().is_allowed(), "later calls still work");
}

#[tokio::test]
async fn an_error_of_the_storage_is_logged_and_returned_through_wrappers() {
    let (log, _guard) = Log::start();
    let fails = || Reply::ready(Err(StorageError::other("two permits are lost")));
    let inner =
        Arc::new(Ending { inner: Arc::new(MemoryStorage::new()).atomic(), shutdown: fails });
    #[derive(Clone)]
    struct Plain(Arc<dyn AtomicStorage>);
    impl Wrapper for Plain {
        fn inner(&self) -> &Arc<dyn AtomicStorage> {
            &self.0
        }
    }
    assert_eq!(poll_once(&Limiter::new(Plain(inner.atomic()))), Poll::Ready(false));
    let text = log.take();
    assert!(text.contains("two permits are lost"), "{text}");
}

#[tokio::test]
async fn work_in_the_background_is_awaited_and_lost_work_is_reported() {
    let limiter = limiter(|| Reply::ready(Ok(())));
    let (done, waits) = tokio::sync::oneshot::channel::<()>();
    limiter.finish(Box::pin(async { _ = waits.await }), |rest| drop(tokio::spawn(rest)));
    assert_eq!(poll_once(&limiter), Poll::Pending);
    let begun = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.shutdown(LONG).await }
    });
    done.send(()).unwrap();
    assert!(begun.await.unwrap());

    let (log, _guard) = Log::start();
    limiter.finish(Box::pin(pending()), drop); // like a runtime that ends
    assert_eq!(poll_once(&limiter), Poll::Ready(false));
    assert!(log.take().contains("refunds or reconciliations were lost"));
    assert_eq!(poll_once(&limiter), Poll::Ready(true), "a loss is reported once");
}
