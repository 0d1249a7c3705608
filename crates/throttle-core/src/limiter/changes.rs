//! Changes that requests which wait must notice: of the rules, and of what was counted for their key.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    task::{Context, Poll, Waker},
};

use crate::key::Key;

/// Wakes requests that wait. It needs no async runtime.
#[derive(Default)]
pub(super) struct Changes {
    count: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// The requests that wait, in the order in which they came.
#[derive(Default)]
struct Waiting {
    last: u64,
    by_number: BTreeMap<u64, Waiter>,
}

struct Waiter {
    key: Key<'static>,
    waker: Option<Waker>,
    change: Option<Change>,
}

/// What has changed for a request.
#[derive(PartialEq, Eq, Default, Debug)]
pub(super) struct Change {
    /// The rules by which its key was reset; none where the rules of the limiter changed.
    pub(super) reset: Vec<String>,
    /// Whether its key was reset while it asked, so that only the storage knows which of both came first.
    pub(super) may_be_reset: bool,
}

/// A request that waits, until this is dropped.
pub(super) struct Registered<'a> {
    changes: &'a Changes,
    number: u64,
}

impl Changes {
    /// Returns how many changes there were: what is asked for afterwards knows all of them.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Acquire)
    }

    /// Wakes all, because a rule was replaced or removed.
    pub(super) fn rules_changed(&self) {
        self.wake(|_, _| true);
    }

    /// Returns the number of the last request that was registered: read it before a key is reset.
    pub(super) fn last_registered(&self) -> u64 {
        self.lock().last
    }

    /// Wakes the requests of a key, because it was reset by a rule: those up to `last` were charged before the reset.
    pub(super) fn reset(&self, key: &Key<'_>, rule: &str, last: u64) {
        self.wake(|number, waiter| {
            if waiter.key != *key {
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

    /// Registers a request of `key`, which is told of all changes from now on.
    pub(super) fn register(&self, key: Key<'static>) -> Registered<'_> {
        let mut waiting = self.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.by_number.insert(number, Waiter { key, waker: None, change: None });
        Registered { changes: self, number }
    }

    /// Wakes the requests that a change is for.
    fn wake(&self, is_for: impl Fn(u64, &mut Waiter) -> bool) {
        self.count.fetch_add(1, Release);
        let mut wakers = Vec::new();
        for (number, waiter) in &mut self.lock().by_number {
            if is_for(*number, waiter) {
                waiter.change.get_or_insert_default();
                wakers.extend(waiter.waker.take());
            }
        }
        wakers.into_iter().for_each(Waker::wake); // which may poll at once
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered<'_> {
    /// Returns what has changed since it was asked last.
    pub(super) fn poll_change(&self, cx: &Context<'_>) -> Poll<Change> {
        let mut waiting = self.changes.lock();
        let Some(waiter) = waiting.by_number.get_mut(&self.number) else { return Poll::Pending };
        if let Some(change) = waiter.change.take() {
            return Poll::Ready(change);
        }
        waiter.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.changes.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(registered: &Registered<'_>) -> Poll<Vec<String>> {
        registered.poll_change(&Context::from_waker(Waker::noop())).map(|change| change.reset)
    }

    #[test]
    fn a_reset_wakes_its_key_and_a_changed_rule_all() {
        let changes = Changes::default();
        let (a, b) = (changes.register("a".into()), changes.register("b".into()));
        assert!(poll(&a).is_pending());
        let last = changes.last_registered();
        changes.reset(&"a".into(), "api", last);
        changes.reset(&"a".into(), "login", last);
        assert_eq!(poll(&a), Poll::Ready(vec!["api".to_owned(), "login".to_owned()]));
        assert!(poll(&a).is_pending() && poll(&b).is_pending());
        changes.rules_changed();
        assert_eq!((poll(&a), poll(&b)), (Poll::Ready(vec![]), Poll::Ready(vec![])));
        assert_eq!(changes.count(), 3);
    }

    #[test]
    fn a_request_that_is_registered_during_a_reset_has_to_look_at_the_storage() {
        let changes = Changes::default();
        let before = changes.register("a".into());
        let last = changes.last_registered();
        let during = changes.register("a".into());
        changes.reset(&"a".into(), "api", last);
        let cx = Context::from_waker(Waker::noop());
        let reset = Change { reset: vec!["api".to_owned()], may_be_reset: false };
        assert_eq!(before.poll_change(&cx), Poll::Ready(reset));
        let unknown = Change { reset: vec![], may_be_reset: true };
        assert_eq!(during.poll_change(&cx), Poll::Ready(unknown));
    }

    #[test]
    fn who_no_longer_waits_takes_no_memory() {
        let changes = Changes::default();
        drop((0..100).map(|_| changes.register("a".into())).collect::<Vec<_>>());
        assert!(changes.lock().by_number.is_empty());
    }
}
