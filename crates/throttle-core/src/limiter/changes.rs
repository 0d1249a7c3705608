//! Notifications of waiting requests about changes of their rules and resets of their keys.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    task::{Context, Poll, Waker},
};

use smallvec::SmallVec;

use crate::key::Key;

/// The waiting requests of a limiter, which a change wakes. It does not need an async runtime.
#[derive(Default)]
pub(super) struct Changes {
    count: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// The waiting requests, in the order of their registration.
#[derive(Default)]
struct Waiting {
    last: u64,
    by_number: BTreeMap<u64, Waiter>,
}

struct Waiter {
    key: Key<'static>,
    rules: SmallVec<[String; 1]>,
    waker: Option<Waker>,
    change: Option<Change>,
}

/// A change that concerns a waiting request.
#[derive(PartialEq, Eq, Default, Debug)]
pub(super) struct Change {
    /// The rules under which its key was reset; empty if one of its rules changed.
    pub(super) reset: Vec<String>,
    /// Whether its key was reset during its check, so only the storage knows which of the two came first.
    pub(super) may_be_reset: bool,
}

/// The registration of a waiting request, until it is dropped.
pub(super) struct Registered<'a> {
    changes: &'a Changes,
    number: u64,
}

impl Changes {
    /// Returns the number of changes so far. A check that starts afterwards sees all of them.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Acquire)
    }

    /// Wakes the requests of a rule, because it was replaced or removed.
    pub(super) fn rule_changed(&self, rule: &str) {
        self.wake(|_, waiter| waiter.is_of(rule));
    }

    /// Wakes the requests of several rules.
    pub(super) fn rules_changed(&self, rules: &HashSet<&str>) {
        self.wake(|_, waiter| waiter.rules.iter().any(|own| rules.contains(&own[..])));
    }

    /// Returns the number of the latest registration. Read it before a key is reset.
    pub(super) fn last_registered(&self) -> u64 {
        self.lock().last
    }

    /// Wakes the requests of a key that was reset under a rule. Those up to the number `last` were charged before the
    /// reset.
    pub(super) fn reset(&self, key: &Key<'_>, rule: &str, last: u64) {
        self.wake(|number, waiter| {
            if waiter.key != *key || !waiter.is_of(rule) {
                return false;
            }
            let change = waiter.change.get_or_insert_default();
            match number <= last {
                true => change.reset.push(rule.to_owned()),
                false => change.may_be_reset = true,
            }
            true
        });
    }

    /// Registers a request of `key`, which receives all later changes of its rules.
    pub(super) fn register<'r>(
        &self,
        key: Key<'static>,
        rules: impl IntoIterator<Item = &'r str>,
    ) -> Registered<'_> {
        let rules = rules.into_iter().map(str::to_owned).collect();
        let mut waiting = self.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.by_number.insert(number, Waiter { key, rules, waker: None, change: None });
        Registered { changes: self, number }
    }

    /// Wakes the requests that a change concerns.
    fn wake(&self, is_for: impl Fn(u64, &mut Waiter) -> bool) {
        self.count.fetch_add(1, Release);
        let mut wakers = Vec::new();
        for (number, waiter) in &mut self.lock().by_number {
            if is_for(*number, waiter) {
                waiter.change.get_or_insert_default();
                wakers.extend(waiter.waker.take());
            }
        }
        wakers.into_iter().for_each(Waker::wake); // without the lock, since it may poll at once
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn is_of(&self, rule: &str) -> bool {
        self.rules.iter().any(|own| own == rule)
    }
}

impl Registered<'_> {
    /// Returns the number of the registration.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the changes since the previous call that returned some.
    pub(super) fn poll_change(&self, cx: &Context<'_>) -> Poll<Change> {
        // The waker is cloned, and the old one dropped, without the lock: dropping it may drop a task that is
        // registered.
        let mut waker = Some(cx.waker().clone());
        let mut waiting = self.changes.lock();
        let Some(waiter) = waiting.by_number.get_mut(&self.number) else { return Poll::Pending };
        if let Some(change) = waiter.change.take() {
            return Poll::Ready(change);
        }
        mem::swap(&mut waiter.waker, &mut waker);
        Poll::Pending
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let waiter = self.changes.lock().by_number.remove(&self.number);
        drop(waiter); // without the lock
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Wake};

    use super::*;

    fn poll(registered: &Registered<'_>) -> Poll<Vec<String>> {
        registered.poll_change(&Context::from_waker(Waker::noop())).map(|change| change.reset)
    }

    #[test]
    fn a_reset_wakes_its_key_and_a_changed_rule_all_of_its_requests() {
        let changes = Changes::default();
        let all = ["api", "login"];
        let (a, b) = (changes.register("a".into(), all), changes.register("b".into(), all));
        let other = changes.register("a".into(), ["other"]);
        assert!(poll(&a).is_pending());
        let last = changes.last_registered();
        changes.reset(&"a".into(), "api", last);
        changes.reset(&"a".into(), "login", last);
        assert_eq!(poll(&a), Poll::Ready(vec!["api".to_owned(), "login".to_owned()]));
        assert!(poll(&a).is_pending() && poll(&b).is_pending());
        changes.rule_changed("login");
        assert_eq!((poll(&a), poll(&b)), (Poll::Ready(vec![]), Poll::Ready(vec![])));
        assert_eq!(changes.count(), 3);
        assert!(poll(&other).is_pending(), "its rule has not changed");
        changes.rule_changed("other");
        assert_eq!((poll(&a), poll(&other)), (Poll::Pending, Poll::Ready(vec![])));
    }

    #[test]
    fn a_request_that_is_registered_during_a_reset_must_check_the_storage() {
        let changes = Changes::default();
        let before = changes.register("a".into(), ["api"]);
        let last = changes.last_registered();
        let during = changes.register("a".into(), ["api"]);
        changes.reset(&"a".into(), "api", last);
        let cx = Context::from_waker(Waker::noop());
        let reset = Change { reset: vec!["api".to_owned()], may_be_reset: false };
        assert_eq!(before.poll_change(&cx), Poll::Ready(reset));
        let unknown = Change { reset: vec![], may_be_reset: true };
        assert_eq!(during.poll_change(&cx), Poll::Ready(unknown));
    }

    /// A waker that uses `Changes` when it is dropped, as the future of a dropped task may do.
    struct Reenters {
        changes: Arc<Changes>,
        drops: Arc<AtomicU64>,
    }

    impl Wake for Reenters {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Reenters {
        fn drop(&mut self) {
            if self.changes.waiting.try_lock().is_ok() {
                drop(self.changes.register("b".into(), ["api"]));
                self.drops.fetch_add(1, Release);
            }
        }
    }

    #[test]
    fn a_waker_that_is_dropped_may_use_the_limiter() {
        let (changes, drops) = (Arc::new(Changes::default()), Arc::<AtomicU64>::default());
        let poll = |registered: &Registered<'_>| {
            let waker = Reenters { changes: Arc::clone(&changes), drops: Arc::clone(&drops) };
            let waker = Waker::from(Arc::new(waker));
            registered.poll_change(&Context::from_waker(&waker)).is_ready()
        };
        let registered = changes.register("a".into(), ["api"]);
        assert!(!poll(&registered) && !poll(&registered));
        assert_eq!(drops.load(Acquire), 1, "the first waker was replaced");
        changes.rule_changed("api");
        assert_eq!(drops.load(Acquire), 2, "the second waker was called");
        assert!(poll(&registered) && !poll(&registered));
        assert_eq!(drops.load(Acquire), 3, "the third waker was not stored");
        drop(registered);
        assert_eq!(drops.load(Acquire), 4, "the fourth waker was stored");
    }

    #[test]
    fn a_dropped_registration_uses_no_memory() {
        let changes = Changes::default();
        drop((0..100).map(|_| changes.register("a".into(), ["api"])).collect::<Vec<_>>());
        assert!(changes.lock().by_number.is_empty());
    }
}
