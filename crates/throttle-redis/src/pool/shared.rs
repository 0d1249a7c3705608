//! The state of a pool, which the tasks of its slots share with the requests.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::RedisError;
use tokio::{sync::Notify, time::Instant};

use super::connection::{Connection, ConnectionSlot};
use crate::{error::Failure, options::Options, redacted::without_login, stats::Counters};

/// The connection slots of a pool, and the state of their connections.
pub(super) struct Shared {
    /// The name of the server in errors.
    pub(super) server: String,
    pub(super) slots: Box<[ConnectionSlot]>,
    next: AtomicUsize,
    /// Notified when a connection is established, or an attempt fails.
    pub(super) changed: Notify,
    failures: AtomicU64,
    state: Mutex<State>,
    pub(super) counters: Arc<Counters>,
    pub(super) options: Arc<Options>,
    /// Notified when a connection breaks or does not answer.
    topology_suspect: Option<Arc<Notify>>,
}

#[derive(Default)]
struct State {
    last: Option<RedisError>,
    down_since: Option<Instant>,
    /// The address of the latest connection.
    address: Option<String>,
}

impl Shared {
    pub(super) fn new(
        server: String,
        slots: usize,
        options: &Arc<Options>,
        counters: &Arc<Counters>,
        topology_suspect: Option<Arc<Notify>>,
    ) -> Self {
        Self {
            server,
            slots: (0..slots).map(|_| ConnectionSlot::default()).collect(),
            next: AtomicUsize::new(0),
            changed: Notify::new(),
            failures: AtomicU64::new(0),
            state: Mutex::new(State { down_since: Some(Instant::now()), ..State::default() }),
            counters: Arc::clone(counters),
            options: Arc::clone(options),
            topology_suspect,
        }
    }

    /// Returns a usable connection, by round robin.
    pub(super) fn pick(&self) -> Option<Arc<Connection>> {
        let first = self.next.fetch_add(1, Relaxed);
        (0..self.slots.len())
            .find_map(|i| self.slots[first.wrapping_add(i) % self.slots.len()].usable())
    }

    /// Returns the number of usable connections.
    pub(super) fn usable(&self) -> usize {
        self.slots.iter().filter(|slot| slot.usable().is_some()).count()
    }

    /// Returns whether an attempt to connect has failed since the last success.
    pub(super) fn has_failed(&self) -> bool {
        self.failures.load(Relaxed) > 0
    }

    /// Returns whether no connection has been up for longer than `span`.
    pub(super) fn is_down_for(&self, span: Duration) -> bool {
        self.state().down_since.is_some_and(|since| since.elapsed() > span)
    }

    /// Returns the address of the latest connection.
    pub(super) fn address(&self) -> Option<String> {
        self.state().address.clone()
    }

    /// Returns the error of the last attempt to connect, if none has succeeded since.
    pub(super) fn last_error(&self) -> Option<RedisError> {
        self.state().last.clone()
    }

    pub(super) fn not_connected(&self) -> Failure {
        Failure::NotConnected { server: self.server.clone(), last: self.last_error() }
    }

    /// Records that a connection was established.
    pub(super) fn connected(&self, address: &str) {
        {
            let mut state = self.state();
            state.down_since = None;
            state.last = None;
            if state.address.as_deref() != Some(address)
                && let Some(before) = state.address.replace(address.to_owned())
            {
                Counters::add(&self.counters.failovers);
                tracing::info!(
                    target: "ratethrottle::redis",
                    server = self.server,
                    before,
                    now = address,
                    "Redis has a new address"
                );
            }
        }
        self.failures.store(0, Relaxed);
        self.changed.notify_waiters();
    }

    /// Records that an attempt to connect failed.
    pub(super) fn failed(&self, error: RedisError) {
        self.state().last = Some(without_login(error, &self.options));
        self.failures.fetch_add(1, Relaxed);
        self.changed.notify_waiters();
    }

    /// Records that a connection broke.
    pub(super) fn disconnected(&self) {
        self.suspect_topology();
        if self.usable() == 0 {
            self.state().down_since.get_or_insert_with(Instant::now);
        }
    }

    /// Reports that a connection broke or does not answer, so its server may be down.
    pub(super) fn suspect_topology(&self) {
        if let Some(suspect) = &self.topology_suspect {
            suspect.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
