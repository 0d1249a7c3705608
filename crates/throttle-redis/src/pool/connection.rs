//! A connection, its health, and its slot in the pool.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{Cmd, RedisError, Value, aio::MultiplexedConnection};
use tokio::{sync::Notify, time::Instant};

use super::pipeliner::{Full, Pipeliner};

/// A caller who waited for so long and went away has given the connection up.
const PATIENT: Duration = Duration::from_millis(10);

/// A slot of the pool, which has a connection or waits for one.
#[derive(Default)]
pub(super) struct ConnectionSlot {
    current: ArcSwapOption<Connection>,
}

impl ConnectionSlot {
    pub(super) fn set(&self, connection: Option<Arc<Connection>>) {
        self.current.store(connection);
    }

    /// Returns the connection if nothing speaks against it.
    pub(super) fn usable(&self) -> Option<Arc<Connection>> {
        let current = self.current.load();
        let connection = current.as_ref()?;
        connection.health.is_good().then(|| Arc::clone(connection))
    }

    /// Gives the connection up if it was made before `moment`.
    pub(super) fn drop_older(&self, moment: Instant) {
        if let Some(connection) = &*self.current.load()
            && connection.since <= moment
        {
            connection.health.mark_broken();
        }
    }
}

/// A connection that was made.
pub(super) struct Connection {
    multiplexed: MultiplexedConnection,
    pipeliner: Arc<Pipeliner>,
    since: Instant,
    health: Arc<ConnectionHealth>,
}

impl Connection {
    pub(super) fn new(multiplexed: MultiplexedConnection, health: Arc<ConnectionHealth>) -> Self {
        Self { multiplexed, pipeliner: Arc::default(), since: Instant::now(), health }
    }

    /// Begins to wait for an answer.
    pub(super) fn wait(&self) -> Wait<'_> {
        Wait { health: &self.health, since: Instant::now(), ended: false }
    }

    /// Sends a command, together with others that come at the same time.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Result<Value, RedisError>, Full> {
        self.pipeliner.send(&self.multiplexed, command).await
    }

    pub(super) fn multiplexed(&self) -> MultiplexedConnection {
        self.multiplexed.clone()
    }

    pub(super) fn health(&self) -> &ConnectionHealth {
        &self.health
    }
}

impl Drop for Connection {
    /// Nobody waits for an answer any more, and one that hangs would be kept open by what was sent on it.
    fn drop(&mut self) {
        self.pipeliner.give_up();
    }
}

/// What is known about a connection's health.
#[derive(Default)]
pub(super) struct ConnectionHealth {
    pub(super) broken: AtomicBool,
    /// A caller did not wait for its answer.
    pub(super) suspect: AtomicBool,
    /// An answer was late: the connection is not used before it has answered a PING.
    pub(super) probe_on_reuse: AtomicBool,
    pub(super) changed: Notify,
}

impl ConnectionHealth {
    fn is_good(&self) -> bool {
        !self.broken.load(Relaxed) && !self.probe_on_reuse.load(Relaxed)
    }

    pub(super) fn mark_broken(&self) {
        self.broken.store(true, Relaxed);
        self.changed.notify_one();
    }

    /// Has the connection checked while it is used.
    fn mark_suspect(&self) {
        if !self.suspect.swap(true, Relaxed) {
            self.changed.notify_one();
        }
    }

    /// Has the connection checked before any other request uses it.
    pub(super) fn probe_on_reuse(&self) {
        self.probe_on_reuse.store(true, Relaxed);
        self.changed.notify_one();
    }
}

/// A wait for an answer. A caller who gives the wait up, for a deadline of its own, does not see that the
/// answer is late: the connection is marked as suspect, since it may hang.
pub(super) struct Wait<'a> {
    health: &'a ConnectionHealth,
    since: Instant,
    ended: bool,
}

impl Wait<'_> {
    /// Ends the wait, however it came out.
    pub(super) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.ended && self.since.elapsed() >= PATIENT {
            self.health.mark_suspect();
        }
    }
}
