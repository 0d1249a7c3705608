//! A limiter that the workers of a server share, although each of them creates its own throttle from a rule.
//!
//! A server calls its factory in the thread of each worker, for one listener after the other. All workers run
//! the same code. So the n-th throttle that one worker creates at some place in the code corresponds to the
//! n-th throttle that the others create there.

use std::{
    cell::RefCell,
    mem,
    panic::Location,
    sync::{Arc, Mutex, Once, PoisonError, Weak},
    thread,
};

use actix_web::rt::System;
use throttle_core::{AtomicStorage, Limiter, Rule, Scope};
use throttle_http::{ConfigError, ConfigWarning, LimitSource};

use crate::memory::MEMORY;

/// The limiter that workers share; it lives as long as the last throttle or service that uses it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limiter: Result<Limiter, ConfigError>,
}

#[derive(Clone, PartialEq, Debug)]
struct CallSite {
    /// The actix system of the server; `None` in a plain tokio runtime.
    system: Option<usize>,
    location: &'static Location<'static>,
    /// `None` for a throttle that is created from a limiter.
    rule: Option<Rule>,
}

/// The shared limiters of this process. Entries whose throttles are dropped are removed when the next throttle
/// is created.
static SHARED: Mutex<Vec<(CallSite, usize, Weak<Shared>)>> = Mutex::new(Vec::new());

/// The storages of the limiters that workers use; the first worker adds the entry.
static LIMITERS: Mutex<Vec<SeenStorage>> = Mutex::new(Vec::new());
type SeenStorage = (CallSite, usize, Weak<dyn AtomicStorage>);
static LOGGED: Once = Once::new();

#[derive(Default)]
struct FactoryCall {
    /// How often this call has passed each call site.
    sites: Vec<(CallSite, usize)>,
    done: bool,
}

thread_local! {
    /// The current call of the factory in this thread.
    static FACTORY_CALL: RefCell<FactoryCall> = RefCell::default();
}

/// Returns the limiter that other workers created from this rule at this call site, or creates it. Returns
/// `None` in a thread that is not a worker.
#[track_caller]
pub(crate) fn shared(rule: &Rule) -> Option<Arc<Shared>> {
    if !is_worker(thread::current().name()?) {
        return None;
    }
    let site = CallSite::new(Location::caller(), Some(rule.clone()));
    let nth = FACTORY_CALL.with_borrow_mut(|call| call.count(&site));
    let mut all = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, _, shared)| shared.strong_count() > 0);
    let mut found = all.iter().filter(|(other, n, _)| *n == nth && *other == site);
    if let Some(shared) = found.find_map(|(_, _, shared)| shared.upgrade()) {
        return Some(shared);
    }
    let limiter = LimitSource::Rule(rule.clone()).into_limiter(MEMORY);
    let shared = Arc::new(Shared { limiter });
    all.push((site, nth, Arc::downgrade(&shared)));
    Some(shared)
}

/// Warns if the workers use separate limiters at the same call site: the limiter was probably meant to be
/// created outside of the factory.
#[track_caller]
pub(crate) fn warn_about_separate_limiters(limiter: &Limiter) {
    if limiter.storage().scope() != Scope::Process
        || !thread::current().name().is_some_and(is_worker)
    {
        return;
    }
    let site = CallSite::new(Location::caller(), None);
    let nth = FACTORY_CALL.with_borrow_mut(|call| call.count(&site));
    let mut all = LIMITERS.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, _, storage)| storage.strong_count() > 0);
    let mut found = all.iter().filter(|(other, n, _)| *n == nth && *other == site);
    match found.find_map(|(_, _, storage)| storage.upgrade()) {
        None => all.push((site, nth, Arc::downgrade(limiter.storage()))),
        Some(storage) if Arc::ptr_eq(&storage, limiter.storage()) => {}
        Some(_) => LOGGED.call_once(|| ConfigWarning::LimiterPerWorker.log()),
    }
}

/// Records that a call of the factory has ended in this thread. The next throttle is created by another call,
/// for another listener.
pub(crate) fn end_factory_call() {
    FACTORY_CALL.with_borrow_mut(|call| call.done = true);
}

impl CallSite {
    fn new(location: &'static Location<'static>, rule: Option<Rule>) -> Self {
        Self { system: System::try_current().map(|system| system.id()), location, rule }
    }
}

impl FactoryCall {
    /// Counts a call site, and returns how often this call of the factory has passed it before.
    fn count(&mut self, site: &CallSite) -> usize {
        if mem::take(&mut self.done) {
            self.sites.clear();
        }
        if let Some((_, times)) = self.sites.iter_mut().find(|(other, _)| other == site) {
            *times += 1;
            return *times - 1;
        }
        self.sites.push((site.clone(), 1));
        0
    }
}

/// Returns whether a thread is named like a worker: actix-server names the workers of a plain tokio runtime,
/// and actix-rt the workers of a system. There is no other way to distinguish them from the thread of a
/// test.
fn is_worker(thread: &str) -> bool {
    thread.starts_with("actix-server worker") || thread.starts_with("actix-rt|system:")
}
