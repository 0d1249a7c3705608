//! A storage that outlives the runtime that it was created on, or is used outside a runtime.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use common::{fixed, limiter};
use throttle_core::{Effect, Error, Limiter};
use throttle_redis::RedisStorage;
use throttle_testbed::{Cluster, Sentinels, Server};
use tokio::runtime::{Builder, Runtime};

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

const RUNTIMES: [fn() -> Runtime; 2] = [one_thread, two_threads];

/// Creates a storage in one runtime, and uses it in several later runtimes, each of which ends.
fn outlives<F: Future<Output = RedisStorage>>(connect: impl Fn() -> F) {
    for begin in RUNTIMES {
        let storage = begin().block_on(connect());
        let limiter = limiter(&storage, [fixed("r", 1_000)]);
        for round in 0..4 {
            let runtime = RUNTIMES[round % 2]();
            runtime.block_on(async {
                for _ in 0..20 {
                    limiter.check("k", "r").await.expect("it works in the new runtime at once");
                }
                let many: Vec<_> = (0..50)
                    .map(|_| {
                        let limiter = limiter.clone();
                        tokio::spawn(async move { limiter.check("k", "r").await })
                    })
                    .collect();
                for one in many {
                    one.await.unwrap().unwrap();
                }
                storage.ping().await.unwrap();
            });
        }
        let left = one_thread().block_on(limiter.peek("k", "r")).unwrap().remaining();
        assert_eq!(left, 1_000 - 4 * 70, "each request is counted once");
        one_thread().block_on(limiter.reset("k", "r")).unwrap();
    }
}

#[test]
fn one_server_works_in_the_next_runtime() {
    let server = Server::start();
    outlives(|| common::standalone(&server));
}

#[test]
fn sentinels_work_in_the_next_runtime_and_a_failover_is_detected_there() {
    let sentinels = Sentinels::start();
    outlives(|| common::sentinel(&sentinels));
    let storage = one_thread().block_on(common::sentinel(&sentinels));
    let limiter = limiter(&storage, [fixed("r", 1_000)]);
    two_threads().block_on(async {
        limiter.check("k", "r").await.unwrap();
        tokio::task::block_in_place(|| sentinels.failover());
        common::until_answered(&limiter, "k", "r", Duration::from_secs(10)).await;
    });
}

#[test]
fn a_cluster_works_in_the_next_runtime() {
    let cluster = Cluster::start();
    outlives(|| common::cluster(&cluster));
}

#[test]
fn outside_a_runtime_every_call_is_the_same_error_and_no_panic() {
    let server = Server::start();
    let runtime = two_threads();
    let storage = runtime.block_on(common::standalone(&server));
    let limiter = limiter(&storage, [fixed("r", 1_000)]);
    let uploads = limiter.concurrency("uploads", 5).unwrap();
    let held = runtime.block_on(uploads.try_acquire("k")).unwrap();
    let outside = |limiter: &Limiter| {
        let mut context = Context::from_waker(Waker::noop());
        let errors = [
            now(pin!(limiter.check("k", "r")).poll(&mut context)),
            now(pin!(limiter.peek("k", "r")).poll(&mut context)),
            now(pin!(limiter.reset("k", "r")).poll(&mut context)),
            now(pin!(limiter.refund("k", "r", 1)).poll(&mut context)),
            now(pin!(uploads.try_acquire("k")).poll(&mut context)),
            now(pin!(limiter.shared_lists()).poll(&mut context)),
        ];
        for error in errors {
            let Error::Storage(error) = error else { panic!("{error}") };
            assert_eq!(error.effect(), Effect::None);
            assert!(error.to_string().contains("needs a tokio runtime"), "{error}");
        }
        let ping = pin!(storage.ping()).poll(&mut context);
        assert!(matches!(ping, Poll::Ready(Err(_))));
    };
    outside(&limiter);
    assert!(runtime.block_on(limiter.check("k", "r")).is_ok(), "it works in a runtime");
    drop(held); // outside a runtime: it is released on the runtime of the storage
    let released = Instant::now() + Duration::from_secs(5);
    while runtime.block_on(uploads.in_use("k")).unwrap() > 0 {
        assert!(Instant::now() < released, "the permit is not released");
    }
    drop(runtime);
    outside(&limiter);
}

fn now<T>(answer: Poll<Result<T, Error>>) -> Error {
    match answer {
        Poll::Ready(Err(error)) => error,
        Poll::Ready(Ok(_)) => panic!("the call succeeded"),
        Poll::Pending => panic!("the call is pending"),
    }
}

#[test]
fn tasks_move_from_a_stalled_runtime_to_the_runtime_that_uses_the_storage() {
    let server = Server::start();
    // The runtime exists but runs nothing, like one in `main` next to the runtime of the server.
    let still = one_thread();
    let storage = still.block_on(common::standalone(&server));
    let limiter = limiter(&storage, [fixed("r", 1_000)]);
    let runtime = two_threads();
    runtime.block_on(common::until_answered(&limiter, "k", "r", Duration::from_secs(20)));
    for _ in 0..50 {
        runtime.block_on(limiter.check("k", "r")).expect("the tasks have moved");
    }
    drop(still);
    runtime
        .block_on(limiter.check("k", "r"))
        .expect("the end of the stalled runtime has no effect");
}

#[test]
fn lists_are_updated_and_permits_renewed_in_the_next_runtime() {
    let server = Server::start();
    let lease = Duration::from_secs(1);
    let builder = RedisStorage::builder(&server.url()).permit_lease(lease);
    let storage = one_thread().block_on(builder.connect()).unwrap();
    let limiter = limiter(&storage, [fixed("r", 1_000)]);
    let first = two_threads();
    let uploads = limiter.concurrency("uploads", 5).unwrap();
    let (_lists, held) = first.block_on(async {
        (limiter.shared_lists().await.unwrap(), uploads.try_acquire("k").await.unwrap())
    });
    drop(first);
    two_threads().block_on(async {
        let other = common::limiter(&common::standalone(&server).await, [fixed("r", 1_000)]);
        other.shared_lists().await.unwrap().deny("bad").await.unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while limiter.check("bad", "r").await.unwrap().is_allowed() {
            assert!(Instant::now() < end, "the list is not updated");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(3 * lease).await;
        assert_eq!(uploads.in_use("k").await.unwrap(), 1, "the permit is not renewed");
        drop(held);
    });
}
