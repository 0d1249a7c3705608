//! Concurrent requests, in many threads.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use axum::{Router, routing::get as on_get};
use http::StatusCode;
use throttle_core::{Decisions, Limiter, Storage};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::{sync::Semaphore, time::timeout};
use tower::ServiceExt;

use common::{Later, get, limiter, whole};

const THREADS: usize = 16;
const EACH: usize = 40;
const LIMIT: usize = 100;

/// Returns how many requests were allowed, and how often the handler was called.
fn storm(storage: impl Storage) -> (usize, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = async move || counted.fetch_add(1, SeqCst).to_string();
    let layer = RateThrottleLayer::new(limiter(storage, LIMIT as u64)).response_extension(true);
    let app: Router = Router::new().route("/", on_get(handler)).layer(layer);
    let start = Barrier::new(THREADS);
    let allowed = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| ask_often(&app, &start))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    (allowed, calls.load(SeqCst))
}

fn ask_often(app: &Router, start: &Barrier) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    start.wait();
    runtime.block_on(async {
        let mut allowed = 0;
        for _ in 0..EACH {
            let response = app.clone().oneshot(get()).await.unwrap();
            let decisions = response.extensions().get::<Decisions>().expect("decisions");
            assert_eq!(decisions.is_allowed(), response.status() == StatusCode::OK);
            allowed += usize::from(response.status() == StatusCode::OK);
        }
        allowed
    })
}

#[test]
fn many_threads_are_allowed_exactly_as_many_requests_as_the_limit() {
    assert_eq!(storm(MemoryStorage::new()), (LIMIT, LIMIT));
}

#[test]
fn many_threads_are_allowed_exactly_the_limit_if_the_storage_answers_later() {
    assert_eq!(storm(Later::default()), (LIMIT, LIMIT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_never_have_more_than_the_limit_in_flight() {
    let limiter = Limiter::new(MemoryStorage::new());
    let uploads = limiter.concurrency("uploads", 3).unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let handler = async move || drop(waits.acquire().await);
    let layer = RateThrottleLayer::new(limiter).concurrency(uploads.clone());
    let app: Router = Router::new().route("/", on_get(handler)).layer(layer);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { whole(app.oneshot(get()).await.unwrap()).await.status() })
        })
        .collect();
    let rejected = async {
        while tasks.iter().filter(|task| task.is_finished()).count() < 97 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), rejected).await.unwrap();
    assert_eq!(uploads.in_use("192.0.2.1").await.unwrap(), 3);
    gate.close();
    let mut allowed = 0;
    for task in tasks {
        allowed += usize::from(task.await.unwrap() == StatusCode::OK);
    }
    assert_eq!((allowed, uploads.in_use("192.0.2.1").await.unwrap()), (3, 0));
}
