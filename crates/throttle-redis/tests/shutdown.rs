//! The shutdown of a limiter on Redis: permits, their releases, and refunds of runtimes that end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    pin::pin,
    task::{Context, Waker},
    thread,
    time::Duration,
};

use common::{fixed, limiter, standalone};
use throttle_core::Limiter;
use throttle_redis::RedisStorage;
use throttle_testbed::Server;
use throttle_testkit::Log;

const LONG: Duration = Duration::from_secs(60);

fn permits(server: &Server) -> usize {
    server.command(&["KEYS", "*%places*"]).list().len()
}

#[tokio::test]
async fn released_permits_are_removed_before_it_ends() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, []);
    let uploads = limiter.concurrency("uploads", 500).unwrap();
    for _ in 0..20 {
        let mut all = Vec::new();
        for _ in 0..20 {
            all.push(uploads.try_acquire("k").await.unwrap());
        }
        assert_eq!(permits(&server), 1);
        drop(all);
        assert!(limiter.shutdown(LONG).await);
        assert_eq!(permits(&server), 0);
    }
}

#[tokio::test]
async fn a_call_that_was_dropped_leaves_no_permit() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, []);
    let uploads = limiter.concurrency("uploads", 500).unwrap();
    for _ in 0..20 {
        {
            let call = pin!(uploads.try_acquire("k"));
            assert!(call.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert!(limiter.shutdown(LONG).await);
        assert_eq!(permits(&server), 0);
    }
}

#[tokio::test]
async fn a_permit_in_use_is_reported_at_the_deadline() {
    let (log, _guard) = Log::start();
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, []);
    let uploads = limiter.concurrency("uploads", 5).unwrap();
    let held = uploads.try_acquire("k").await.unwrap();
    assert!(!limiter.shutdown(Duration::from_millis(50)).await);
    let text = log.take();
    assert!(text.contains("permits are still in use") && text.contains("permits=1"), "{text}");
    drop(held);
    assert!(limiter.shutdown(LONG).await);
    assert!(uploads.try_acquire("k").await.unwrap().is_allowed(), "later calls still work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_fails_during_the_shutdown_is_reported() {
    let server = Server::start();
    let limiter = limiter(&standalone(&server).await, []);
    let uploads = limiter.concurrency("uploads", 5).unwrap();
    let held = uploads.try_acquire("k").await.unwrap();
    let shutdown = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.shutdown(LONG).await }
    });
    tokio::task::yield_now().await;
    tokio::task::block_in_place(|| server.kill());
    drop(held);
    assert!(!shutdown.await.unwrap());
}

/// Returns a refund of one request, as an adapter makes it in a destructor.
async fn refund(limiter: Limiter) {
    limiter.refund("k", "r", 1).await.unwrap();
}

#[tokio::test]
async fn a_refund_that_begins_on_a_runtime_that_ends_is_completed() {
    let server = Server::start();
    let storage: RedisStorage = standalone(&server).await;
    let limiter = limiter(&storage, [fixed("r", 100)]);
    for _ in 0..20 {
        assert!(limiter.check("k", "r").await.unwrap().is_allowed());
        let worker = limiter.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let work = Box::pin(refund(worker.clone()));
                worker.finish(work, |rest| drop(tokio::spawn(rest)));
            });
        })
        .join()
        .unwrap();
        assert!(limiter.shutdown(LONG).await);
        assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 100);
    }
}
