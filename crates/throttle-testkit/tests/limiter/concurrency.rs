//! Limits of requests in flight: the parts that the limiter adds to the storage.

use std::sync::Arc;

use throttle_core::{Error, Limiter, ListMatch, Rule};
use throttle_memory::MemoryStorage;

use super::{limiter, six::SixOperations};

#[tokio::test]
async fn a_permit_is_released_when_it_is_dropped() {
    let (limiter, _) = limiter([]);
    let uploads = limiter.concurrency("uploads", 2).unwrap();
    let first = uploads.try_acquire("k").await.unwrap();
    assert_eq!((first.in_use(), first.remaining(), first.limit()), (1, 1, 2));
    let permit = uploads.try_acquire("k").await.unwrap().into_permit().unwrap();
    assert!(!uploads.try_acquire("k").await.unwrap().is_allowed());
    let work = tokio::spawn(async move {
        let _permit = permit;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(work.await.is_err());
    assert_eq!(uploads.in_use("k").await.unwrap(), 1);
    drop(first);
    assert_eq!(uploads.in_use("k").await.unwrap(), 0);
}

#[tokio::test]
async fn lists_apply_to_concurrency_limits() {
    let (limiter, _) = limiter([]);
    limiter.allow_list().add("10.0.0.0/8").unwrap();
    limiter.deny_list().add("203.0.113.9").unwrap();
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    let client = std::net::IpAddr::from([10, 0, 0, 1]);
    let held =
        [uploads.try_acquire(client).await.unwrap(), uploads.try_acquire(client).await.unwrap()];
    assert!(held.iter().all(|one| one.is_allowed() && one.in_use() == 0));
    assert_eq!(
        uploads.in_use(client).await.unwrap(),
        0,
        "a client on the allow list must hold no permit"
    );
    let denied = uploads.try_acquire("203.0.113.9").await.unwrap();
    assert_eq!((denied.is_allowed(), denied.decision().listed()), (false, Some(ListMatch::Denied)));
}

#[tokio::test]
async fn metrics_and_violations_include_concurrency_limits() {
    let (limiter, _) = limiter([]);
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    let _permit = uploads.try_acquire("k").await.unwrap();
    for _ in 0..2 {
        assert!(!uploads.try_acquire("k").await.unwrap().is_allowed());
    }
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.allowed, metrics.denied, metrics.violations), (3, 1, 2, 2));
    let counts = metrics.concurrency["uploads"];
    assert_eq!((counts.total, counts.allowed, counts.denied), (3, 1, 2));
    let violation = &metrics.recent_violations[0];
    assert_eq!((violation.rule.as_str(), violation.limit), ("uploads", 1));
    assert_eq!(violation.retry_after, None);
}

#[test]
fn invalid_concurrency_limits_are_clear_errors() {
    let (limiter, _) = limiter([Rule::per_minute("api", 1)]);
    let error = limiter.concurrency("uploads", 0).unwrap_err().to_string();
    assert_eq!(error, "rule \"uploads\": limit is 0; it must be from 1 to 999999999999999");
    assert!(matches!(limiter.concurrency("", 1), Err(Error::InvalidRule(_))));
    assert!(matches!(limiter.concurrency("x".repeat(65), 1), Err(Error::InvalidRule(_))));
    assert!(matches!(limiter.concurrency("api", 1), Err(Error::DuplicateRule(_))));

    let uploads = limiter.concurrency("uploads", 1).unwrap();
    drop((uploads, limiter.concurrency("uploads", 2).unwrap())); // limits of the same name are allowed
    let error = limiter.add_rule(Rule::per_minute("uploads", 1)).unwrap_err();
    assert!(error.to_string().contains("another limit \"uploads\""), "{error}");
    assert!(limiter.replace_rule(Rule::per_minute("uploads", 1)).is_err());
    assert!(limiter.rule("uploads").is_none());
}

#[tokio::test]
async fn only_limiters_on_one_storage_share_permits() {
    let memory = MemoryStorage::new();
    let six = Arc::new(SixOperations::default());
    let pairs = [
        (Limiter::new(memory.clone()), Limiter::new(memory), Limiter::new(MemoryStorage::new())),
        (Limiter::new(Arc::clone(&six)), Limiter::new(six), Limiter::new(SixOperations::default())),
    ];
    for (one, two, other) in pairs {
        let [one, two, other] =
            [one, two, other].map(|limiter| limiter.concurrency("uploads", 1).unwrap());
        let permit = one.try_acquire("k").await.unwrap().into_permit().unwrap();
        assert!(!two.try_acquire("k").await.unwrap().is_allowed());
        assert!(other.try_acquire("k").await.unwrap().is_allowed());
        drop((one, permit));
        assert!(two.try_acquire("k").await.unwrap().is_allowed());
    }
}
