//! Places of requests under way: never one too many, and none is lost.

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

/// Checks a storage that counts requests in flight. Of one that does not it checks nothing: 0.
pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    if storage.concurrency().is_none() {
        return 0;
    }
    names_and_keys_are_apart(storage).await;
    limits_of_one_name_share_their_places(storage).await;
    many_tasks(storage).await;
    what_is_given_up_holds_nothing(storage).await;
    4
}

fn uploads(storage: &Arc<dyn AtomicStorage>, name: &str, limit: u64) -> ConcurrencyLimit {
    Limiter::new(Arc::clone(storage)).concurrency(name, limit).unwrap()
}

/// A place may be given back while nobody waits; it is soon.
async fn until_free(uploads: &ConcurrencyLimit, key: &str, in_use: u64) {
    let began = Instant::now();
    loop {
        let now = uploads.in_use(key).await.unwrap();
        if now == in_use {
            return;
        }
        let patience = began.elapsed() < Duration::from_secs(5);
        assert!(patience, "{now} places of {key} are in use for good instead of {in_use}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn names_and_keys_are_apart(storage: &Arc<dyn AtomicStorage>) {
    let (name, key) = (unique("places"), unique("a {b}: c\n"));
    let one = uploads(storage, &name, 2);
    let mut held = Vec::new();
    for in_use in 1..=2 {
        let entered = one.try_acquire(&key).await.unwrap();
        assert_eq!(
            (entered.in_use(), entered.remaining(), entered.limit()),
            (in_use, 2 - in_use, 2)
        );
        held.push(entered.into_permit().unwrap());
    }
    let refused = one.try_acquire(&key).await.unwrap();
    assert_eq!((refused.is_allowed(), refused.in_use(), refused.remaining()), (false, 2, 0));
    assert!(refused.decision().retry_after().is_none(), "nobody knows when a place is free");
    let others = [
        uploads(storage, &unique("places"), 2).try_acquire(&key).await.unwrap(),
        one.try_acquire(&unique("another")).await.unwrap(),
    ];
    assert!(others.iter().all(|entered| entered.in_use() == 1));
    drop(held.pop());
    until_free(&one, &key, 1).await;
    assert!(one.try_acquire(&key).await.unwrap().is_allowed());
    drop(held);
    until_free(&one, &key, 0).await;
}

async fn limits_of_one_name_share_their_places(storage: &Arc<dyn AtomicStorage>) {
    let (name, key) = (unique("places"), unique("shared"));
    let (few, many) = (uploads(storage, &name, 1), uploads(storage, &name, 3));
    let first = few.try_acquire(&key).await.unwrap().into_permit().unwrap();
    let second = many.try_acquire(&key).await.unwrap();
    assert_eq!((second.is_allowed(), second.in_use()), (true, 2));
    assert!(!few.try_acquire(&key).await.unwrap().is_allowed());
    drop((first, second));
    until_free(&many, &key, 0).await;
}

async fn many_tasks(storage: &Arc<dyn AtomicStorage>) {
    const LIMIT: u64 = 3;
    let uploads = uploads(storage, &unique("places"), LIMIT);
    let key = unique("many");
    let held = Arc::new(AtomicU64::new(0));
    let work = |uploads: ConcurrencyLimit, key: String, held: Arc<AtomicU64>| async move {
        let mut entered = 0;
        for _ in 0..EACH {
            let outcome = uploads.try_acquire(&key).await.unwrap();
            assert!(outcome.in_use() <= LIMIT);
            if let Some(place) = outcome.into_permit() {
                entered += 1;
                let now = held.fetch_add(1, SeqCst) + 1;
                assert!(now <= LIMIT, "{now} at once");
                tokio::task::yield_now().await;
                held.fetch_sub(1, SeqCst);
                drop(place);
            }
        }
        entered
    };
    let start = |_| tokio::spawn(work(uploads.clone(), key.clone(), Arc::clone(&held)));
    let tasks: Vec<_> = (0..TASKS).map(start).collect();
    let mut entered = 0;
    for task in tasks {
        entered += task.await.unwrap();
    }
    assert!(entered >= LIMIT, "{entered} found a place");
    until_free(&uploads, &key, 0).await;
}

/// Calls that are dropped after their first step, wherever they are then.
async fn what_is_given_up_holds_nothing(storage: &Arc<dyn AtomicStorage>) {
    let uploads = uploads(storage, &unique("places"), 1_000);
    let key = unique("given up");
    for _ in 0..50 {
        let mut entering = pin!(uploads.try_acquire(&key));
        let _ = entering.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    // Those that are still on their way may be taken yet.
    tokio::time::sleep(Duration::from_millis(50)).await;
    until_free(&uploads, &key, 0).await;
}
