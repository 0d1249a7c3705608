//! A connection, its health, and its connection slot in the pool.

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

/// A caller that stops waiting after this time makes the connection suspect.
const SUSPECT_AFTER: Duration = Duration::from_millis(10);

/// A connection slot of the pool, which is empty while its task connects.
#[derive(Default)]
pub(super) struct ConnectionSlot {
    current: ArcSwapOption<Connection>,
}

impl ConnectionSlot {
    pub(super) fn set(&self, connection: Option<Arc<Connection>>) {
        self.current.store(connection);
    }

    /// Returns the connection if its health is good.
    pub(super) fn usable(&self) -> Option<Arc<Connection>> {
        let current = self.current.load();
        let connection = current.as_ref()?;
        connection.health.is_good().then(|| Arc::clone(connection))
    }

    /// Marks the connection as broken if it was established before `moment`.
    pub(super) fn drop_older(&self, moment: Instant) {
        if let Some(connection) = &*self.current.load()
            && connection.since <= moment
        {
            connection.health.mark_broken();
        }
    }
}

/// An established connection.
pub(super) struct Connection {
    connected: Connected,
    /// The number of answers during the handshake.
    answers: u64,
    pipeliner: Arc<Pipeliner>,
    since: Instant,
    health: Arc<ConnectionHealth>,
}

impl Connection {
    /// Creates the connection. The end of `connected` must be reported to `pipeliner` and `health`.
    pub(super) fn new(
        connected: Connected,
        pipeliner: Arc<Pipeliner>,
        health: Arc<ConnectionHealth>,
    ) -> Self {
        let answers = connected.sender.wire.answers();
        connected.sender.wire.set_established();
        Self { connected, answers, pipeliner, since: Instant::now(), health }
    }

    /// Returns the age of the connection.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Returns whether this side closed the connection while the server kept it open.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.connected.sender.wire.has_ended()
    }

    /// Returns whether an answer arrived after the handshake.
    pub(super) fn has_answered(&self) -> bool {
        self.connected.sender.wire.answers() > self.answers
    }

    /// Returns the cause of a lost connection, which may be more specific than the error of the request.
    pub(super) fn explain_loss(&self, error: RedisError) -> RedisError {
        match self.connected.sender.wire.too_large() {
            Some(too_large) => too_large.into(),
            None if error.is_connection_dropped() && !self.has_answered() => closed_early(),
            None => error,
        }
    }

    /// Starts a wait for an answer.
    pub(super) fn wait(&self) -> Wait<'_> {
        Wait { health: &self.health, since: Instant::now(), ended: false }
    }

    /// Sends a command, in one write with others that are sent at the same time.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Result<Value, RedisError>, Unsent> {
        self.pipeliner.send(&self.connected.sender, command).await
    }

    /// Sends commands in one write, and returns the answers to the last `count`.
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

    /// Returns whether the server answers a PING. An error is an answer, too: a server that is loading is alive.
    pub(super) async fn answers_ping(&self) -> bool {
        let mut multiplexed = self.connected.sender.multiplexed.clone();
        multiplexed.send_packed_command(&cmd("PING")).await.is_ok()
    }

    pub(super) fn health(&self) -> &ConnectionHealth {
        &self.health
    }
}

impl Drop for Connection {
    /// Fails the requests in flight. Otherwise they would keep a hanging connection open.
    fn drop(&mut self) {
        self.pipeliner.abandon();
    }
}

/// Returns the error of a connection that was closed before it answered a request.
pub(super) fn closed_early() -> RedisError {
    let text = "it was closed before it answered any request; if this repeats, check that proxies between this process \
                and Redis allow scripts (EVALSHA)";
    io::Error::new(io::ErrorKind::BrokenPipe, text).into()
}

/// The health of a connection.
///
/// Requests set the flags, and the task of the slot reacts to them. A broken connection is replaced. After an
/// answer that was late, the connection is not used until it has answered a PING. If only the caller stopped
/// waiting, the cause may be the caller's own short deadline. Then the connection stays in use while the task sends
/// a PING.
#[derive(Default)]
pub(super) struct ConnectionHealth {
    pub(super) broken: AtomicBool,
    /// A caller stopped waiting for its answer.
    pub(super) suspect: AtomicBool,
    /// An answer was late, and the connection must answer a PING before it is used again.
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

    /// Requests a check of the connection, which stays in use.
    fn mark_suspect(&self) {
        if !self.suspect.swap(true, Relaxed) {
            self.changed.notify_one();
        }
    }

    /// Requests a check of the connection, which is not used until it passes.
    pub(super) fn probe_on_reuse(&self) {
        self.probe_on_reuse.store(true, Relaxed);
        self.changed.notify_one();
    }
}

/// A wait for an answer.
///
/// If the caller drops the wait because of its own deadline, the response timeout never fires, although the
/// connection may hang. So the drop marks the connection as suspect.
pub(super) struct Wait<'a> {
    health: &'a ConnectionHealth,
    since: Instant,
    ended: bool,
}

impl Wait<'_> {
    /// Ends the wait with an answer or a timeout.
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
