//! The connections to one server: few, shared by all requests, and kept up in the background.
//!
//! A request is sent on a connection without waiting for the answers to others, so that a handful
//! carries any load. Each connection has a task of its own ([`keeper`]) that makes it, checks it, and
//! makes another when it breaks; a request only ever picks one that is there. One that may be broken
//! (an answer was late) is not picked until it has answered a PING.

mod connection;
mod discovery;
mod greeting;
mod keeper;
mod pipeliner;
mod shared;
mod source;

use std::{fmt, sync::Arc};

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::{
    sync::Notify,
    time::{Instant, error::Elapsed, timeout_at},
};

pub(crate) use self::source::{Source, address_of, connection_addr, with_login};
use self::{
    connection::Connection,
    pipeliner::{MAX_QUEUED, Sent, Unsent},
    shared::Shared,
};
use crate::{
    background::{Background, Task},
    error::{Error, Failure},
    options::{Address, Options},
    stats::Counters,
};

/// More connections than this carry no more.
const MAX_CONNECTIONS: usize = 4;

/// Holds the connections to one server; they end with it.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    source: Arc<Source>,
    background: Arc<Background>,
    _keepers: Vec<Task>,
}

impl Pool {
    /// Begins to connect; `server` is what errors call it, and `topology_suspect` is woken when a
    /// connection is gone or does not answer.
    pub(crate) fn start(
        server: String,
        source: Source,
        options: &Arc<Options>,
        background: &Arc<Background>,
        counters: &Arc<Counters>,
        topology_suspect: Option<Arc<Notify>>,
    ) -> Self {
        let slots = Self::size(options);
        let shared = Arc::new(Shared::new(server, slots, options, counters, topology_suspect));
        let source = Arc::new(source);
        let keep = |index| {
            let (shared, source) = (Arc::clone(&shared), Arc::clone(&source));
            background.spawn(move || {
                let (shared, source) = (Arc::clone(&shared), Arc::clone(&source));
                async move { keeper::keep(&shared, index, &source).await }
            })
        };
        let keepers = (0..slots).map(keep).collect();
        Self { shared, source, background: Arc::clone(background), _keepers: keepers }
    }

    /// Begins to connect to one address.
    pub(crate) fn of_address(
        address: &Address,
        options: &Arc<Options>,
        background: &Arc<Background>,
        counters: &Arc<Counters>,
        topology_suspect: Option<Arc<Notify>>,
    ) -> Result<Self, Error> {
        let source = Source::fixed(address, options)?;
        let server = address.to_string();
        Ok(Self::start(server, source, options, background, counters, topology_suspect))
    }

    /// Returns how many connections a server gets.
    pub(crate) fn size(options: &Options) -> usize {
        options.max_connections.min(MAX_CONNECTIONS)
    }

    /// Sends a command, and returns what came back before the deadline.
    pub(crate) async fn send(&self, cmd: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        loop {
            let connection = self.connection(deadline).await?;
            let wait = connection.wait();
            let answer = timeout_at(deadline, connection.send(cmd)).await;
            wait.end();
            if let Some(answer) = self.classify(&connection, answer) {
                return answer;
            }
        }
    }

    /// Sends commands one right after the other, and returns the answers to the last `count`.
    pub(crate) async fn send_all(
        &self,
        commands: &Pipeline,
        skip: usize,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Value>, Failure> {
        loop {
            let connection = self.connection(deadline).await?;
            let wait = connection.wait();
            let answer = timeout_at(deadline, connection.send_all(commands, skip, count)).await;
            wait.end();
            if let Some(answer) = self.classify(&connection, answer) {
                return answer;
            }
        }
    }

    /// Waits until there is a connection; fails at the first that could not be made.
    pub(crate) async fn wait(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.is_connected() {
                return Ok(());
            }
            if self.shared.has_failed() || timeout_at(deadline, changed).await.is_err() {
                return Err(self.shared.not_connected());
            }
        }
    }

    /// Replaces the connections that were there before `moment`: they lead to a server that is no
    /// master any more.
    pub(crate) fn replace_older(&self, moment: Instant) {
        for slot in &self.shared.slots {
            slot.drop_older(moment);
        }
    }

    /// Follows a sentinel that says that one address took the place of another as the master. The other one
    /// is not connected to for a while, though a sentinel that did not hear of it yet, and the server itself,
    /// may say that it is master still.
    pub(crate) fn switch_master(&self, old: &str, new: &str) {
        // Whatever was said of it before, maybe late and by another sentinel.
        self.source.clear_demoted(new);
        // The other sentinels say the same.
        if self.address().as_deref() != Some(new) {
            self.source.mark_demoted(old);
            self.replace_older(Instant::now());
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.slots.iter().any(|slot| slot.usable().is_some())
    }

    /// Returns how many connections are up.
    pub(crate) fn connections(&self) -> usize {
        self.shared.usable()
    }

    pub(crate) fn server(&self) -> &str {
        &self.shared.server
    }

    /// Returns the address that the connections led to last.
    pub(crate) fn address(&self) -> Option<String> {
        self.shared.address()
    }

    /// Returns why the last connection could not be made, if none was since.
    pub(crate) fn last_error(&self) -> Option<RedisError> {
        self.shared.last_error()
    }

    async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, Failure> {
        if let Some(connection) = self.shared.pick() {
            return Ok(connection);
        }
        let probe = self.background.probe();
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable(); // before looking, so that no change is missed
            if let Some(connection) = self.shared.pick() {
                return Ok(connection);
            }
            // A server that has been away for so long will hardly be back for this very request.
            let long = self.shared.is_down_for(self.shared.options.response_timeout);
            if long || timeout_at(deadline, changed).await.is_err() {
                if let Some(probe) = probe.filter(|probe| !long && !probe.is_finished()) {
                    self.background.move_here(&probe);
                }
                return Err(self.shared.not_connected());
            }
        }
    }

    /// Returns what came of a request; none where its connection was closed before anything of it was written,
    /// so that it is sent on another.
    fn classify<T>(
        &self,
        connection: &Connection,
        answer: Result<Sent<T>, Elapsed>,
    ) -> Option<Result<T, Failure>> {
        let Shared { server, options, counters, .. } = &*self.shared;
        let timeout = options.response_timeout;
        Some(match answer {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => {
                let failure = Failure::of_sent(server, error, timeout);
                Err(match failure {
                    Failure::Lost { server, source } => {
                        connection.health().mark_broken();
                        Failure::Lost { server, source: connection.explain_loss(source) }
                    }
                    failure => failure,
                })
            }
            Ok(Err(Unsent::Full)) => {
                Counters::add(&counters.overloads);
                Err(Failure::Overload { server: server.clone(), waiting: MAX_QUEUED })
            }
            Ok(Err(Unsent::Closed)) => {
                Counters::add(&counters.retries);
                connection.health().mark_broken();
                return None;
            }
            Err(_) => {
                connection.health().probe_on_reuse();
                Counters::add(&counters.late);
                Err(Failure::Late { server: server.clone(), timeout })
            }
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("server", &self.shared.server)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
