//! The programs of the docs that need no web framework, as a user types them.

use std::{
    collections::HashMap,
    error::Error,
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

use throttle_core::{
    Algorithm, Limiter, ManualClock, Rule, Storage, StorageError, Value, async_trait,
};
use throttle_memory::MemoryStorage;

#[tokio::test]
async fn the_engine_alone_does_what_its_program_says() -> Result<(), Box<dyn Error>> {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::new("api_limit", 1000, Duration::from_secs(60)))?;
    let decision = limiter.check("192.168.1.100", "api_limit").await?;
    if decision.is_allowed() {
        println!("{} left", decision.remaining())
    } else {
        println!("retry in {:?}", decision.retry_after())
    }
    assert_eq!((decision.limit(), decision.remaining(), decision.rule()), (1000, 999, "api_limit"));
    assert!(!decision.is_blocked() && !decision.is_degraded() && decision.delay().is_zero());
    assert!(decision.reset_after() > Duration::ZERO && decision.retry_after().is_none());

    limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
    limiter.add_rule(Rule::parse("daily", "10000/day")?.block(Duration::from_secs(60)).cost(2))?;
    limiter.check_all("192.168.1.100", &["burst", "daily"]).await?;
    limiter.check_cost("user:42", "api_limit", 10).await?;
    limiter.peek("user:42", "api_limit").await?;
    limiter.reset("user:42", "api_limit").await?;
    limiter.refund("user:42", "api_limit", 1).await?;
    limiter.until_ready("user:42", "api_limit").await?;
    limiter.allow_list().add("10.0.0.0/8")?;
    limiter.deny_list().add_for("203.0.113.9", Duration::from_secs(3600))?;
    limiter.on_violation(|violation| tracing::warn!(?violation));
    let metrics = limiter.metrics();
    let status = limiter.status();
    assert_eq!((metrics.total, metrics.allowed, metrics.denied, metrics.violations), (4, 4, 0, 0));
    assert_eq!((status.rules.len(), status.allow_list, status.deny_list), (3, 1, 1));
    assert!(!limiter.check("203.0.113.9", "api_limit").await?.is_allowed());
    assert_eq!(limiter.peek("user:42", "api_limit").await?.remaining(), 999);
    Ok(())
}

#[tokio::test]
async fn the_storage_operations_do_what_their_program_says() -> Result<(), Box<dyn Error>> {
    let storage = MemoryStorage::new();
    storage.set("key", "value".into(), Some(Duration::from_secs(60))).await?;
    let value: Option<Value> = storage.get("key").await?;
    let n: i64 = storage.increment("counter", 1, Some(Duration::from_secs(60))).await?;
    let gone = storage.delete("key").await?;
    let there = storage.exists("key").await?;
    let cleared: u64 = storage.clear().await?;
    assert_eq!(value.as_ref().and_then(Value::as_str), Some("value"));
    assert_eq!((n, gone, there, cleared), (1, true, false, 1));
    assert_eq!(Value::from(7).as_i64(), Some(7));
    assert_eq!(
        Value::from(String::from("text")).as_bytes(),
        Value::from(b"text".to_vec()).as_bytes()
    );
    Ok(())
}

#[derive(Default)]
struct MyStorage {
    values: Mutex<HashMap<String, (Value, Option<Instant>)>>,
}

impl MyStorage {
    fn live(&self, key: &str) -> Option<(Value, Option<Instant>)> {
        let values = self.values.lock().unwrap();
        values.get(key).filter(|(_, end)| end.is_none_or(|end| end > Instant::now())).cloned()
    }
}

#[async_trait]
impl Storage for MyStorage {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        Ok(self.live(key).map(|(value, _)| value))
    }
    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        self.values
            .lock()
            .unwrap()
            .insert(key.into(), (value, ttl.map(|ttl| Instant::now() + ttl)));
        Ok(())
    }
    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let (value, end) =
            self.live(key).unwrap_or((0.into(), ttl.map(|ttl| Instant::now() + ttl)));
        let old = value.as_i64().ok_or_else(|| StorageError::other("no whole number"))?;
        self.values.lock().unwrap().insert(key.into(), ((old + amount).into(), end));
        Ok(old + amount)
    }
    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let live = self.live(key).is_some();
        self.values.lock().unwrap().remove(key);
        Ok(live)
    }
    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.live(key).is_some())
    }
    async fn clear(&self) -> Result<u64, StorageError> {
        Ok(std::mem::take(&mut *self.values.lock().unwrap()).len() as u64)
    }
}

#[tokio::test]
async fn every_algorithm_works_on_a_storage_of_six_operations() -> Result<(), Box<dyn Error>> {
    let limiter = Limiter::new(MyStorage::default());
    for algorithm in Algorithm::ALL {
        limiter.add_rule(Rule::per_day(algorithm.as_str(), 3).algorithm(algorithm))?;
        for n in 0..5 {
            let decision = limiter.check("user:42", algorithm.as_str()).await?;
            assert_eq!(decision.is_allowed(), n < 3, "{algorithm}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn time_in_tests_goes_as_its_program_says() -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    limiter.add_rule(Rule::per_minute("api", 1).algorithm(Algorithm::FixedWindow))?;
    assert!(limiter.check("k", "api").await?.is_allowed());
    assert!(!limiter.check("k", "api").await?.is_allowed());
    clock.advance(Duration::from_secs(60));
    assert!(limiter.check("k", "api").await?.is_allowed());
    let some_system_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    clock.set(some_system_time);
    assert!(limiter.check("k", "api").await?.is_allowed());
    Ok(())
}
