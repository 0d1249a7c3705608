//! Late calls.

mod common;

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::{Duration, Instant},
};

use common::{Behaviour, FaultyStorage, fixed, limiter};
use throttle_core::{Effect, Error, Storage, StorageError};
use throttle_resilience::{Deadline, Deadlines, Error as Why};

const SHORT: Duration = Duration::from_millis(30);

fn late(error: &StorageError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    error.effect() == Effect::Unknown && source == Some(&Why::Late(SHORT))
}

fn of(error: Error) -> StorageError {
    match error {
        Error::Storage(error) => error,
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_hanging_call_is_an_error_with_unknown_effect_at_the_deadline() {
    let storage = FaultyStorage::new(Behaviour::Hangs);
    let deadlines = Deadlines::of(SHORT).refund(SHORT).reset(SHORT).operations(SHORT).clear(SHORT);
    let wrapped = Deadline::new(storage.clone(), deadlines);
    let limiter = limiter(wrapped.clone(), [fixed("r", 5)]);
    let began = Instant::now();
    assert!(late(&of(limiter.check("k", "r").await.unwrap_err())));
    assert!(late(&of(limiter.peek("k", "r").await.unwrap_err())));
    assert!(late(&of(limiter.refund("k", "r", 1).await.unwrap_err())));
    assert!(late(&of(limiter.reset("k", "r").await.unwrap_err())));
    assert!(late(&wrapped.get("k").await.unwrap_err()));
    assert!(late(&wrapped.set("k", "v".into(), None).await.unwrap_err()));
    assert!(late(&wrapped.increment("k", 1, None).await.unwrap_err()));
    assert!(late(&wrapped.delete("k").await.unwrap_err()));
    assert!(late(&wrapped.exists("k").await.unwrap_err()));
    assert!(late(&wrapped.clear().await.unwrap_err()));
    let took = began.elapsed();
    assert!(took >= 10 * SHORT && took < 10 * SHORT + Duration::from_secs(2), "{took:?}");
    assert_eq!(storage.calls(), 10, "nothing is retried");
}

#[tokio::test]
async fn each_kind_of_call_has_its_own_deadline() {
    let storage = FaultyStorage::new(Behaviour::Later(Duration::from_millis(500)));
    let deadlines = Deadlines::of(SHORT).peek(Duration::from_secs(20));
    let limiter = limiter(Deadline::new(storage.clone(), deadlines), [fixed("r", 5)]);
    assert!(late(&of(limiter.check("k", "r").await.unwrap_err())));
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 4, "the late charge counts");
}

#[tokio::test]
async fn an_answer_in_time_is_returned_unchanged() {
    for behaviour in [Behaviour::AtOnce, Behaviour::Later(Duration::from_millis(5))] {
        let storage = FaultyStorage::new(behaviour);
        let limiter = limiter(Deadline::new(storage, Duration::from_secs(20)), [fixed("r", 1)]);
        assert!(limiter.check("k", "r").await.unwrap().is_allowed());
        assert!(!limiter.check("k", "r").await.unwrap().is_allowed());
        assert_eq!(limiter.status().storage, "faulty");
    }
}

#[test]
fn it_works_without_a_runtime() {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let storage = FaultyStorage::new(Behaviour::Hangs);
    let limiter = limiter(Deadline::new(storage, SHORT), [fixed("r", 1)]);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut check = pin!(limiter.check("k", "r"));
    let answer = loop {
        match check.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => break answer,
            Poll::Pending => std::thread::park(),
        }
    };
    assert!(late(&of(answer.unwrap_err())));
}
