//! Storage errors: they are returned and counted, allow no request, and leave no partial charge.

use std::{
    error::Error as _,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use throttle_core::{
    Charge, Effect, Error, Key, Limiter, ManualClock, Rule, Storage, StorageError, Value,
    async_trait,
};

use crate::{SECOND, six::SixOperations, start};

/// A storage whose operations fail as planned by a test.
#[derive(Clone, Default)]
struct Failing {
    inner: SixOperations,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    /// Reads or writes of keys that contain this text fail.
    reads_of: Mutex<Option<&'static str>>,
    writes_of: Mutex<Option<&'static str>>,
    /// Writes after this number fail.
    writes_left: Mutex<Option<u64>>,
    writes: AtomicU64,
}

impl Failing {
    fn fail(setting: &Mutex<Option<&'static str>>, part: &'static str) {
        *setting.lock().unwrap() = Some(part);
    }

    fn recover(&self) {
        *self.plan.reads_of.lock().unwrap() = None;
        *self.plan.writes_of.lock().unwrap() = None;
        *self.plan.writes_left.lock().unwrap() = None;
    }

    fn check(setting: &Mutex<Option<&'static str>>, key: &str) -> Result<(), StorageError> {
        match *setting.lock().unwrap() {
            Some(part) if key.contains(part) => {
                Err(StorageError::other(io::Error::new(io::ErrorKind::TimedOut, "no answer")))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, key: &str) -> Result<(), StorageError> {
        Self::check(&self.plan.writes_of, key)?;
        if let Some(left) = &mut *self.plan.writes_left.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| StorageError::not_carried_out("full"))?;
        }
        self.plan.writes.fetch_add(1, Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Storage for Failing {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        Self::check(&self.plan.reads_of, key)?;
        self.inner.get(key).await
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        self.write(key)?;
        self.inner.set(key, value, ttl).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        self.write(key)?;
        self.inner.increment(key, amount, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.write(key)?;
        self.inner.delete(key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.inner.exists(key).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.inner.clear().await
    }
}

/// Creates a limiter with the rules `a`, `b` and `c` on a storage that can fail.
fn failing() -> (Limiter, Failing, ManualClock) {
    let (storage, clock) = (Failing::default(), ManualClock::at(start()));
    let limiter = Limiter::builder(storage.clone()).clock(clock.clone()).build();
    for name in ["a", "b", "c"] {
        limiter.add_rule(Rule::per_hour(name, 10)).unwrap();
    }
    (limiter, storage, clock)
}

async fn remaining(limiter: &Limiter) -> [u64; 3] {
    let mut all = [0; 3];
    for (value, rule) in all.iter_mut().zip(["a", "b", "c"]) {
        *value = limiter.peek("k", rule).await.unwrap().remaining();
    }
    all
}

fn storage_error(error: Error) -> StorageError {
    match error {
        Error::Storage(error) => error,
        error => panic!("expected a storage error, got {error:?}"),
    }
}

#[tokio::test]
async fn a_failure_is_an_error_with_its_effect_and_its_source() {
    let (limiter, storage, _) = failing();
    Failing::fail(&storage.plan.reads_of, ":a");
    let error = limiter.check("k", "a").await.unwrap_err();
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("no answer"), "{error}");
    assert_eq!(storage_error(error).effect(), Effect::Unknown);

    storage.recover();
    *storage.plan.writes_left.lock().unwrap() = Some(0);
    let error = storage_error(limiter.check("k", "a").await.unwrap_err());
    assert_eq!(error.effect(), Effect::None);
    assert!(error.to_string().contains("full"), "{error}");
}

#[tokio::test]
async fn a_failure_is_counted_as_an_error_and_as_nothing_else() {
    let (limiter, storage, _) = failing();
    limiter.check("k", "a").await.unwrap();
    Failing::fail(&storage.plan.reads_of, ":a");
    for _ in 0..3 {
        assert!(limiter.check("k", "a").await.is_err());
    }
    assert!(limiter.check_all("k", &["b", "a"]).await.is_err());
    assert!(limiter.until_ready("k", "a").await.is_err());
    let metrics = limiter.metrics();
    assert_eq!((metrics.errors, metrics.total, metrics.allowed, metrics.denied), (5, 1, 1, 0));
    assert_eq!((metrics.violations, metrics.rules["a"].total), (0, 1));

    storage.recover();
    assert_eq!(remaining(&limiter).await, [9, 10, 10], "failed requests must not be charged");
}

#[tokio::test]
async fn a_failed_peek_reset_or_refund_is_an_error() {
    let (limiter, storage, _) = failing();
    let decision = limiter.check("k", "a").await.unwrap();
    Failing::fail(&storage.plan.reads_of, ":a");
    Failing::fail(&storage.plan.writes_of, ":a");
    assert!(matches!(limiter.peek("k", "a").await, Err(Error::Storage(_))));
    assert!(matches!(limiter.reset("k", "a").await, Err(Error::Storage(_))));
    assert!(matches!(limiter.refund("k", "a", 1).await, Err(Error::Storage(_))));
    assert!(matches!(limiter.rollback("k", &[decision]).await, Err(Error::Storage(_))));
    storage.recover();
    assert_eq!(remaining(&limiter).await, [9, 10, 10]);
}

#[tokio::test]
async fn earlier_writes_are_undone_if_a_later_write_fails() {
    for (failing_rule, writes_before) in [(":a", 0), (":b", 1), (":c", 2)] {
        for charged_before in [0, 3] {
            let (limiter, storage, _) = failing();
            for _ in 0..charged_before {
                limiter.check_all("k", &["a", "b", "c"]).await.unwrap();
            }
            let before = remaining(&limiter).await;
            let writes = storage.plan.writes.load(Relaxed);
            Failing::fail(&storage.plan.writes_of, failing_rule);
            let error = limiter.check_all("k", &["a", "b", "c"]).await.unwrap_err();
            assert_eq!(storage_error(error).effect(), Effect::Unknown);
            let tried = storage.plan.writes.load(Relaxed) - writes;
            assert!(tried >= writes_before, "only {tried} writes before {failing_rule}");

            storage.recover();
            assert_eq!(
                remaining(&limiter).await,
                before,
                "no rule may be charged if {failing_rule} fails"
            );
            let decisions = limiter.check_all("k", &["a", "b", "c"]).await.unwrap();
            assert!(decisions.all().iter().all(|one| one.remaining() == before[0] - 1));
        }
    }
}

#[tokio::test]
async fn the_first_failure_is_returned_if_it_cannot_be_compensated() {
    let (limiter, storage, _) = failing();
    let (log, _guard) = throttle_testkit::Log::start();
    *storage.plan.writes_left.lock().unwrap() = Some(1); // only the write of the first rule
    let denied = limiter.check_all("secret", &["a", "b", "c"]).await;
    let error = storage_error(denied.unwrap_err());
    let lines = log.take();
    assert!(lines.contains("could not be reverted") && !lines.contains("secret"), "{lines}");
    assert_eq!(error.effect(), Effect::Unknown, "a part of the request was executed");
    storage.recover();
    let peeked = limiter.check_all("secret", &["a"]).await.unwrap();
    assert_eq!(peeked.all()[0].remaining(), 8, "if undoing fails, the charge must remain");
}

#[tokio::test]
async fn a_partly_executed_refund_is_not_repeated() {
    let (limiter, storage, _) = failing();
    limiter.check_cost("k", "a", 5).await.unwrap();
    let decisions = limiter.check_all("k", &["a", "b", "c"]).await.unwrap();
    *storage.plan.writes_left.lock().unwrap() = Some(1); // only the write of the first rule
    limiter.rollback("k", decisions.all()).await.unwrap_err();
    storage.recover();
    limiter.rollback("k", decisions.all()).await.unwrap();
    assert_eq!(remaining(&limiter).await, [5, 9, 9]);
}

#[tokio::test]
async fn a_denied_request_and_a_peek_write_nothing() {
    let (limiter, storage, clock) = failing();
    limiter.check_cost("k", "a", 10).await.unwrap();
    let writes = storage.plan.writes.load(Relaxed);
    for _ in 0..5 {
        clock.advance(SECOND);
        assert!(!limiter.check_all("k", &["a", "b"]).await.unwrap().is_allowed());
        assert!(!limiter.check_cost("k", "b", 11).await.unwrap().is_allowed());
        limiter.peek("k", "a").await.unwrap();
    }
    assert_eq!(storage.plan.writes.load(Relaxed), writes);
}

#[tokio::test]
async fn an_invalid_state_is_an_error_and_allows_no_request() {
    let (limiter, storage, _) = failing();
    let (key, rule) = (Key::from("k"), limiter.rule("a").unwrap());
    let name = Charge::new(&key, &rule, 1).storage_key();
    for garbage in [&b"garbage"[..], b"", b"\xff\xff", b"7", &[3; 64]] {
        storage.set(&name, garbage.into(), None).await.unwrap();
        for _ in 0..2 {
            let error = storage_error(limiter.check("k", "a").await.unwrap_err());
            assert_eq!(error.effect(), Effect::None);
            assert!(error.to_string().contains(&name) && error.source().is_some(), "{error}");
        }
        assert!(limiter.check_all("k", &["b", "a"]).await.is_err());
        assert!(limiter.peek("k", "a").await.is_err());
        assert!(limiter.refund("k", "a", 1).await.is_err());
        assert_eq!(
            storage.get(&name).await.unwrap(),
            Some(garbage.into()),
            "the value must not change"
        );
    }
    assert_eq!(limiter.peek("k", "b").await.unwrap().remaining(), 10, "b must not be charged");
    assert!(
        limiter.check("other", "a").await.unwrap().is_allowed(),
        "other keys must not be affected"
    );
    assert_eq!(limiter.metrics().allowed, 1);

    limiter.reset("k", "a").await.unwrap();
    assert!(limiter.check("k", "a").await.unwrap().is_allowed(), "a reset must repair the key");
}
