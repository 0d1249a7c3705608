//! Wrappers around a storage that records its calls.

use std::sync::{Mutex, Weak};

use super::*;
use crate::{
    decision::ListMatch,
    entry::Entry,
    key::Key,
    rule::Rule,
    storage::{
        charge::Charge,
        lists::{ListEntry, ListSubscriber, ListSubscription},
        local_permits::LocalPermits,
    },
    time::{ManualClock, Micros},
    verdict::Verdict,
};

/// A storage that records its calls, and returns a different answer for each kind.
#[derive(Clone)]
struct Recorder {
    calls: Arc<Mutex<Vec<String>>>,
    lists: Arc<dyn ListStorage>,
    permits: LocalPermits,
}

impl Recorder {
    fn new() -> Self {
        Self { calls: Arc::default(), lists: Arc::new(NoLists), permits: LocalPermits::new() }
    }

    fn record(&self, what: String) {
        self.calls.lock().unwrap().push(what);
    }

    fn decide(&self, call: &str, request: &ChargeRequest<'_>, remaining: u64) -> Reply<Outcome> {
        self.record(format!("{call} {:?} {}", request.charges(), request.clock().is_some()));
        let verdict = Verdict { allowed: true, remaining, ..Verdict::default() };
        Reply::ready(Ok(Outcome::one(verdict, Micros::new(5))))
    }
}

#[async_trait]
impl Storage for Recorder {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        self.record(format!("get {key}"));
        Ok(Some("got".into()))
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        self.record(format!("set {key} {value:?} {ttl:?}"));
        Ok(())
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        self.record(format!("increment {key} {amount} {ttl:?}"));
        Err(StorageError::overflow(key))
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        self.record(format!("delete {key}"));
        Ok(true)
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        self.record(format!("exists {key}"));
        Ok(false)
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.record("clear".to_owned());
        Ok(17)
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}

impl AtomicStorage for Recorder {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.decide("acquire", request, 1)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.decide("peek", request, 2)
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        self.record(format!("refund {refunds:?} {}", clock.is_some()));
        Reply::ready(Err(StorageError::other("no refunds")))
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        self.record(format!("reset {:?}", request.charges()));
        Reply::ready(Ok(true))
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        Some(Arc::clone(&self.lists))
    }

    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        Some(Arc::new(self.permits.clone()))
    }

    fn kind(&self) -> &str {
        "recorder"
    }
}

struct NoLists;

#[async_trait]
impl ListStorage for NoLists {
    async fn add(&self, _: ListMatch, _: &Entry, _: Option<Duration>) -> Result<(), StorageError> {
        Ok(())
    }

    async fn remove(&self, _: ListMatch, _: &Entry) -> Result<bool, StorageError> {
        Ok(false)
    }

    async fn load(&self) -> Result<Vec<ListEntry>, StorageError> {
        Ok(Vec::new())
    }

    fn subscribe(&self, _: Weak<dyn ListSubscriber>) -> Arc<dyn ListSubscription> {
        Arc::new(Self)
    }
}

#[async_trait]
impl ListSubscription for NoLists {
    async fn catch_up(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// A wrapper that overrides one method.
#[derive(Clone)]
struct Free(Arc<dyn AtomicStorage>);

impl Wrapper for Free {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.0
    }

    fn peek(&self, _: &ChargeRequest<'_>) -> Reply<Outcome> {
        Reply::ready(Ok(Outcome::new([], Micros::ZERO)))
    }
}

/// A wrapper that records calls in `around`, and forwards none when it is closed.
#[derive(Clone)]
struct Gate {
    inner: Arc<dyn AtomicStorage>,
    seen: Arc<Mutex<Vec<StorageCall>>>,
    is_closed: bool,
}

impl Gate {
    fn new(storage: impl Storage, is_closed: bool) -> Self {
        Self { inner: Arc::new(storage).atomic(), seen: Arc::default(), is_closed }
    }
}

impl Wrapper for Gate {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner
    }

    fn around<T: Send + 'static>(
        &self,
        call: StorageCall,
        forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
    ) -> Reply<T> {
        self.seen.lock().unwrap().push(call);
        match self.is_closed {
            true => Reply::ready(Err(StorageError::not_carried_out("closed"))),
            false => forward(&self.inner),
        }
    }
}

/// Returns the answer of a future that is ready at once.
fn answer<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("it is pending"),
    }
}

/// Makes every call except `peek`, and returns the answers.
fn call_all(storage: &dyn AtomicStorage) -> Vec<String> {
    let (key, rule) = (Key::from("k"), Arc::new(Rule::per_minute("api", 10).check().unwrap()));
    let charges = [Charge::new(&key, &rule, 3)];
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(std::time::SystemTime::UNIX_EPOCH));
    let (request, ttl) = (ChargeRequest::new(&charges, Some(&clock)), Some(Duration::from_secs(9)));
    let of = ConcurrencyKey::new("uploads", &key);
    let permits = storage.concurrency().expect("it counts permits");
    let taken = answer(permits.take(&of, 2));
    let in_use = answer(permits.in_use(&of));
    vec![
        format!("{:?}", storage.acquire(&request).into_ready().expect("it is ready")),
        format!("{:?}", answer(storage.refund(&[Refund::new(charges[0], None)], Some(&clock)))),
        format!("{:?}", answer(storage.reset(&request))),
        format!("{:?}", taken.map(|taken| taken.in_use())),
        format!("{in_use:?}"),
        format!("{:?}", answer(storage.get("a"))),
        format!("{:?}", answer(storage.set("b", "value".into(), ttl))),
        format!("{:?}", answer(storage.increment("c", -4, ttl))),
        format!("{:?}", answer(storage.delete("d"))),
        format!("{:?}", answer(storage.exists("e"))),
        format!("{:?}", answer(storage.clear())),
        format!("{:?} {}", storage.scope(), storage.kind()),
    ]
}

#[test]
fn a_wrapper_that_overrides_one_method_forwards_all_others() {
    let (plain, inside) = (Recorder::new(), Recorder::new());
    let wrapped = Arc::new(Free(Arc::new(inside.clone()))).atomic();
    assert_eq!(call_all(&*wrapped), call_all(&plain));
    assert_eq!(*inside.calls.lock().unwrap(), *plain.calls.lock().unwrap());
    assert_eq!(inside.calls.lock().unwrap().len(), 9);
    assert!(Arc::ptr_eq(&wrapped.lists().unwrap(), &inside.lists));

    let request = ChargeRequest::new(&[], None);
    let free = wrapped.peek(&request).into_ready().expect("it is ready").unwrap();
    assert_eq!((free.verdicts().len(), inside.calls.lock().unwrap().len()), (0, 9));
}

#[test]
fn every_call_goes_through_around_once() {
    use StorageCall::*;
    let (plain, inside) = (Recorder::new(), Recorder::new());
    let gate = Gate::new(Free(Arc::new(inside.clone())), false);
    let wrapped = Arc::new(gate.clone()).atomic();
    assert_eq!(call_all(&*wrapped), call_all(&plain), "nested wrappers forward, too");
    drop(wrapped.peek(&ChargeRequest::new(&[], None)));
    let seen = gate.seen.lock().unwrap();
    let permits = [AcquirePermit, PermitsInUse];
    let whole = [Acquire, Refund, Reset];
    let operations = [Get, Set, Increment, Delete, Exists, Clear];
    assert_eq!(*seen, [&permits[..], &whole, &operations, &[Peek]].concat());
}

#[test]
fn a_call_that_is_not_forwarded_does_not_reach_the_storage() {
    let inside = Recorder::new();
    let wrapped = Arc::new(Gate::new(inside.clone(), true)).atomic();
    let answers = call_all(&*wrapped);
    let (facts, calls) = answers.split_last().unwrap();
    assert_eq!(facts, "Shared recorder");
    assert!(calls.iter().all(|answer| answer.contains("closed")), "{calls:?}");
    assert_eq!((inside.calls.lock().unwrap().len(), inside.permits.keys()), (0, 0));
}
