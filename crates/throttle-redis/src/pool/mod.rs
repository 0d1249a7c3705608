//! The connections to one server: a few, shared by all requests.
//!
//! Requests on a connection are pipelined, so a few connections suffice for any load. The pool has a fixed
//! number of connection slots. Each slot has a background task ([`keeper`]) that connects, checks the connection,
//! and replaces it when it breaks. A request only picks an existing connection. After a late answer, a connection
//! is not picked until it has answered a PING.

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

/// The maximum number of connections to a server. More do not increase the throughput.
const MAX_CONNECTIONS: usize = 4;

/// The connections to one server, which are closed when this is dropped.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    source: Arc<Source>,
    background: Arc<Background>,
    _keepers: Vec<Task>,
}

impl Pool {
    /// Starts to connect in the background.
    ///
    /// `server` is the server's name in errors. `topology_suspect` is notified when a connection breaks or does not
    /// answer.
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

    /// Starts to connect to one address in the background.
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

    /// Returns the number of connections to a server.
    pub(crate) fn size(options: &Options) -> usize {
        options.max_connections.min(MAX_CONNECTIONS)
    }

    /// Sends a command, and returns the answer if it arrives before the deadline.
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

    /// Sends commands in one write, and returns the answers to the last `count`.
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

    /// Waits until a connection is up, or the first attempt fails.
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

    /// Replaces the connections that are older than `moment`, because their server is no longer the master.
    pub(crate) fn replace_older(&self, moment: Instant) {
        for slot in &self.shared.slots {
            slot.drop_older(moment);
        }
    }

    /// Switches to a new master that a sentinel announced.
    ///
    /// The old master is not used for a while: other sentinels that lag, and the old master itself, may still
    /// report it as the master.
    pub(crate) fn switch_master(&self, old: &str, new: &str) {
        // An earlier or delayed message of another sentinel may have demoted the new master.
        self.source.clear_demoted(new);
        // All sentinels announce the failover; only the first message has an effect.
        if self.address().as_deref() != Some(new) {
            self.source.mark_demoted(old);
            self.replace_older(Instant::now());
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.slots.iter().any(|slot| slot.usable().is_some())
    }

    /// Returns the number of connections that are up.
    pub(crate) fn connections(&self) -> usize {
        self.shared.usable()
    }

    pub(crate) fn server(&self) -> &str {
        &self.shared.server
    }

    /// Returns the address of the latest connection.
    pub(crate) fn address(&self) -> Option<String> {
        self.shared.address()
    }

    /// Returns the error of the last attempt to connect, if none has succeeded since.
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
            changed.as_mut().enable(); // before the check, so that no change is missed
            if let Some(connection) = self.shared.pick() {
                return Ok(connection);
            }
            // A server that has been down for a whole response timeout will hardly return within this one, so the
            // request fails at once.
            let long = self.shared.is_down_for(self.shared.options.response_timeout);
            if long || timeout_at(deadline, changed).await.is_err() {
                if let Some(probe) = probe.filter(|probe| !long && !probe.is_finished()) {
                    self.background.move_here(&probe);
                }
                return Err(self.shared.not_connected());
            }
        }
    }

    /// Returns the result of a request, or `None` if its connection ended before the request was written: then it
    /// can be sent on another connection.
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
