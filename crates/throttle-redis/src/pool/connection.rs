//! A connection, its health, and its slot in the pool.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{Cmd, Pipeline, RedisError, Value, cmd};
use tokio::{sync::Notify, time::Instant};

use super::pipeliner::{Pipeliner, Unsent, detect_unsent};
use crate::{error::checked, transport::Connected};

/// A caller who waited for so long and went away has given the connection up.
const SUSPECT_AFTER: Duration = Duration::from_millis(10);

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
    connected: Connected,
    /// How many answers came while it was made.
    answers: u64,
    pipeliner: Arc<Pipeliner>,
    since: Instant,
    health: Arc<ConnectionHealth>,
}

impl Connection {
    /// Takes what was made, whose end `pipeliner` and `health` hear of.
    pub(super) fn new(
        connected: Connected,
        pipeliner: Arc<Pipeliner>,
        health: Arc<ConnectionHealth>,
    ) -> Self {
        let answers = connected.sender.wire.answers();
        connected.sender.wire.set_established();
        Self { connected, answers, pipeliner, since: Instant::now(), health }
    }

    /// Returns for how long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Returns whether it was given up while the server kept it open.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.connected.sender.wire.has_ended()
    }

    /// Returns whether it answered anything since it was made.
    pub(super) fn has_answered(&self) -> bool {
        self.connected.sender.wire.answers() > self.answers
    }

    /// Returns why the connection was lost, where more is known than the error of a request says.
    pub(super) fn explain_loss(&self, error: RedisError) -> RedisError {
        match self.connected.sender.wire.too_large() {
            Some(too_large) => too_large.into(),
            None if error.is_connection_dropped() && !self.has_answered() => closed_early(),
            None => error,
        }
    }

    /// Begins to wait for an answer.
    pub(super) fn wait(&self) -> Wait<'_> {
        Wait { health: &self.health, since: Instant::now(), ended: false }
    }

    /// Sends a command, together with others that come at the same time.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Result<Value, RedisError>, Unsent> {
        self.pipeliner.send(&self.connected.sender, command).await
    }

    /// Sends commands one right after the other, and returns the answers to the last `count`.
    pub(super) async fn send_all(
        &self,
        commands: &Pipeline,
        skip: usize,
        count: usize,
    ) -> Result<Result<Vec<Value>, RedisError>, Unsent> {
        let mut multiplexed = self.connected.sender.multiplexed.clone();
        let sent = multiplexed.send_packed_commands(commands, skip, count);
        let answers = |values: Vec<Value>| values.into_iter().map(checked).collect();
        let answer = detect_unsent(&self.connected.sender, sent).await?;
        Ok(answer.and_then(answers))
    }

    /// Returns whether a PING is answered: by anything at all, a server that is loading is there.
    pub(super) async fn answers_ping(&self) -> bool {
        let mut multiplexed = self.connected.sender.multiplexed.clone();
        multiplexed.send_packed_command(&cmd("PING")).await.is_ok()
    }

    pub(super) fn health(&self) -> &ConnectionHealth {
        &self.health
    }
}

impl Drop for Connection {
    /// Nobody waits for an answer any more, and one that hangs would be kept open by what was sent on it.
    fn drop(&mut self) {
        self.pipeliner.abandon();
    }
}

/// Returns the error of a connection that was closed before it answered anything.
pub(super) fn closed_early() -> RedisError {
    let text = "it was closed before it answered any request; if that repeats, see whether what stands between \
                lets scripts (EVALSHA) pass";
    io::Error::new(io::ErrorKind::BrokenPipe, text).into()
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
        if !self.ended && self.since.elapsed() >= SUSPECT_AFTER {
            self.health.mark_suspect();
        }
    }
}
