//! One limiter for the workers of a server, each of which makes its own throttle of a rule.
//!
//! A server calls its factory in the thread of each worker, once for each listener, one after the
//! other. The workers run the same code, so that what the n-th call at one place makes in one of them
//! is what the n-th call makes in the others.

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

/// Is what workers share; lives as long as the last throttle or service that was made of it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limiter: Result<Limiter, Arc<ConfigError>>,
}

#[derive(Clone, PartialEq, Debug)]
struct CallSite {
    /// The system that the server runs in; none where Tokio alone runs it.
    system: Option<usize>,
    location: &'static Location<'static>,
    /// None of a limiter.
    rule: Option<Rule>,
}

/// What is shared in this process: no more entries than there are living throttles, and those that
/// died since the last was made.
static SHARED: Mutex<Vec<(CallSite, usize, Weak<Shared>)>> = Mutex::new(Vec::new());

/// The storages of the limiters that workers use, by the first who did.
static LIMITERS: Mutex<Vec<Seen>> = Mutex::new(Vec::new());
type Seen = (CallSite, usize, Weak<dyn AtomicStorage>);
static LOGGED: Once = Once::new();

#[derive(Default)]
struct Made {
    /// How often each place was there.
    places: Vec<(CallSite, usize)>,
    done: bool,
}

thread_local! {
    /// What this call of the factory has made so far.
    static MADE: RefCell<Made> = RefCell::default();
}

/// Returns what other workers made of this rule at this place of the code, or makes it; none in a
/// thread that is no worker's.
#[track_caller]
pub(crate) fn shared(rule: &Rule) -> Option<Arc<Shared>> {
    if !is_worker(thread::current().name()?) {
        return None;
    }
    let place = CallSite::new(Location::caller(), Some(rule.clone()));
    let nth = MADE.with_borrow_mut(|made| made.count(&place));
    let mut all = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, _, shared)| shared.strong_count() > 0);
    let mut found = all.iter().filter(|(other, n, _)| *n == nth && *other == place);
    if let Some(shared) = found.find_map(|(_, _, shared)| shared.upgrade()) {
        return Some(shared);
    }
    let limiter = LimitSource::Rule(rule.clone()).into_limiter(MEMORY).map_err(Arc::new);
    let shared = Arc::new(Shared { limiter });
    all.push((place, nth, Arc::downgrade(&shared)));
    Some(shared)
}

/// Looks at a limiter that a worker uses: if what the others use at this place of the code counts for
/// itself, the limiter was meant to be made outside of the factory.
#[track_caller]
pub(crate) fn look_at(limiter: &Limiter) {
    if limiter.storage().scope() != Scope::Process
        || !thread::current().name().is_some_and(is_worker)
    {
        return;
    }
    let place = CallSite::new(Location::caller(), None);
    let nth = MADE.with_borrow_mut(|made| made.count(&place));
    let mut all = LIMITERS.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, _, storage)| storage.strong_count() > 0);
    let mut found = all.iter().filter(|(other, n, _)| *n == nth && *other == place);
    match found.find_map(|(_, _, storage)| storage.upgrade()) {
        None => all.push((place, nth, Arc::downgrade(limiter.storage()))),
        Some(storage) if Arc::ptr_eq(&storage, limiter.storage()) => {}
        Some(_) => LOGGED.call_once(|| ConfigWarning::LimiterPerWorker.log()),
    }
}

/// Notes that services are being made in this thread: the next throttle comes from another call of the
/// factory, for another listener.
pub(crate) fn factory_is_done() {
    MADE.with_borrow_mut(|made| made.done = true);
}

impl CallSite {
    fn new(location: &'static Location<'static>, rule: Option<Rule>) -> Self {
        Self { system: System::try_current().map(|system| system.id()), location, rule }
    }
}

impl Made {
    /// Returns how often the place was there before in this call of the factory.
    fn count(&mut self, place: &CallSite) -> usize {
        if mem::take(&mut self.done) {
            self.places.clear();
        }
        if let Some((_, times)) = self.places.iter_mut().find(|(other, _)| other == place) {
            *times += 1;
            return *times - 1;
        }
        self.places.push((place.clone(), 1));
        0
    }
}

/// Returns whether a thread is a worker, by the names that actix-server (below Tokio alone) and
/// actix-rt (within a system) give them; nothing else tells them from the thread of a test.
fn is_worker(thread: &str) -> bool {
    thread.starts_with("actix-server worker") || thread.starts_with("actix-rt|system:")
}
