//! Limits of requests in flight: never exceeded, and every permit is released.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use throttle_core::{AtomicStorage, ConcurrencyLimit, Limiter};

use crate::fixtures::unique;

const TASKS: u64 = 32;
const EACH: u64 = 20;

/// Runs the checks and returns their number, which is 0 if the storage does not count requests in flight.
pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    if storage.concurrency().is_none() {
        return 0;
    }
    names_and_keys_are_counted_separately(storage).await;
    limits_of_the_same_name_share_their_permits(storage).await;
    many_tasks(storage).await;
    cancelled_calls_hold_no_permit(storage).await;
    4
}

fn uploads(storage: &Arc<dyn AtomicStorage>, name: &str, limit: u64) -> ConcurrencyLimit {
    Limiter::new(Arc::clone(storage)).concurrency(name, limit).unwrap()
}

/// Waits until `in_use` permits are in use. A storage may release permits in the background.
async fn until_free(uploads: &ConcurrencyLimit, key: &str, in_use: u64) {
    let began = Instant::now();
    loop {
        let now = uploads.in_use(key).await.unwrap();
        if now == in_use {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{key}: after 5 seconds {now} permits are in use, expected {in_use}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn names_and_keys_are_counted_separately(storage: &Arc<dyn AtomicStorage>) {
    let (name, key) = (unique("permits"), unique("a {b}: c\n"));
    let one = uploads(storage, &name, 2);
    let mut held = Vec::new();
    for in_use in 1..=2 {
        let acquired = one.try_acquire(&key).await.unwrap();
        assert_eq!(
            (acquired.in_use(), acquired.remaining(), acquired.limit()),
            (in_use, 2 - in_use, 2)
        );
        held.push(acquired.into_permit().unwrap());
    }
    let rejected = one.try_acquire(&key).await.unwrap();
    let state = (rejected.is_allowed(), rejected.in_use(), rejected.remaining());
    assert_eq!(state, (false, 2, 0), "a request over the limit must get no permit");
    assert!(rejected.decision().retry_after().is_none(), "the time of the next release is unknown");
    let others = [
        uploads(storage, &unique("permits"), 2).try_acquire(&key).await.unwrap(),
        one.try_acquire(&unique("another")).await.unwrap(),
    ];
    let separate = others.iter().all(|acquired| acquired.in_use() == 1);
    assert!(separate, "other names and other keys must have their own permits");
    drop(held.pop());
    until_free(&one, &key, 1).await;
    let again = one.try_acquire(&key).await.unwrap();
    assert!(again.is_allowed(), "a released permit must be available again");
    drop(again);
    drop(held);
    until_free(&one, &key, 0).await;
}

async fn limits_of_the_same_name_share_their_permits(storage: &Arc<dyn AtomicStorage>) {
    let (name, key) = (unique("permits"), unique("shared"));
    let (few, many) = (uploads(storage, &name, 1), uploads(storage, &name, 3));
    let first = few.try_acquire(&key).await.unwrap().into_permit().unwrap();
    let second = many.try_acquire(&key).await.unwrap();
    let state = (second.is_allowed(), second.in_use());
    assert_eq!(state, (true, 2), "limits of the same name must count together");
    let third = few.try_acquire(&key).await.unwrap();
    assert!(!third.is_allowed(), "the lower limit must be exceeded");
    drop((first, second));
    until_free(&many, &key, 0).await;
}

async fn many_tasks(storage: &Arc<dyn AtomicStorage>) {
    const LIMIT: u64 = 3;
    let uploads = uploads(storage, &unique("permits"), LIMIT);
    let key = unique("many");
    let held = Arc::new(AtomicU64::new(0));
    let work = |uploads: ConcurrencyLimit, key: String, held: Arc<AtomicU64>| async move {
        let mut acquired = 0;
        for _ in 0..EACH {
            let outcome = uploads.try_acquire(&key).await.unwrap();
            let in_use = outcome.in_use();
            assert!(in_use <= LIMIT, "{in_use} permits in use, the limit is {LIMIT}");
            if let Some(permit) = outcome.into_permit() {
                acquired += 1;
                let now = held.fetch_add(1, SeqCst) + 1;
                assert!(now <= LIMIT, "{now} permits held at once, the limit is {LIMIT}");
                tokio::task::yield_now().await;
                held.fetch_sub(1, SeqCst);
                drop(permit);
            }
        }
        acquired
    };
    let start = |_| tokio::spawn(work(uploads.clone(), key.clone(), Arc::clone(&held)));
    let tasks: Vec<_> = (0..TASKS).map(start).collect();
    let mut acquired = 0;
    for task in tasks {
        acquired += task.await.unwrap();
    }
    assert!(acquired >= LIMIT, "only {acquired} permits were acquired");
    until_free(&uploads, &key, 0).await;
}

/// Drops calls after their first poll, at the point that they have reached.
async fn cancelled_calls_hold_no_permit(storage: &Arc<dyn AtomicStorage>) {
    let uploads = uploads(storage, &unique("permits"), 1_000);
    let key = unique("cancelled");
    for _ in 0..50 {
        let mut acquire = pin!(uploads.try_acquire(&key));
        let _ = acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    // Calls that have reached the backend may still acquire a permit there.
    tokio::time::sleep(Duration::from_millis(50)).await;
    until_free(&uploads, &key, 0).await;
}
