//! The connections to one server: few, shared by all requests, and kept up in the background.
//!
//! A request is sent on a connection without waiting for the answers to others, so that a handful
//! carries any load. Each connection has a task of its own ([`keeper`]) that makes it, checks it, and
//! makes another when it breaks; a request only ever picks one that is there. One that may be broken
//! (an answer was late) is not picked until it has answered a PING.

mod connection;
mod greeting;
mod keeper;
mod pipeliner;
mod shared;
mod source;

use std::{fmt, sync::Arc};

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

pub(crate) use self::source::{Ask, Source, address_of, connection_addr, with_login};
use self::{
    connection::Connection,
    pipeliner::{Full, MOST_WAITING},
    shared::Shared,
};
use crate::{
    error::{Error, Failure, checked},
    figures::Counters,
    options::{Address, Options},
};

/// More connections than this carry no more.
const MOST_CONNECTIONS: usize = 4;

/// Holds the connections to one server; they end with it.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    source: Arc<Source>,
    tasks: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Begins to connect; `server` is what errors call it, and `topology_suspect` is woken when a
    /// connection is gone or does not answer.
    pub(crate) fn start(
        server: String,
        source: Source,
        options: &Arc<Options>,
        counters: &Arc<Counters>,
        topology_suspect: Option<Arc<Notify>>,
    ) -> Self {
        let slots = Self::size(options);
        let shared = Arc::new(Shared::new(server, slots, options, counters, topology_suspect));
        let source = Arc::new(source);
        let keep = |index| {
            let (shared, source) = (Arc::clone(&shared), Arc::clone(&source));
            tokio::spawn(async move { keeper::keep(&shared, index, &source).await })
        };
        let tasks = (0..slots).map(keep).collect();
        Self { shared, source, tasks }
    }

    /// Begins to connect to one address.
    pub(crate) fn of_address(
        address: &Address,
        options: &Arc<Options>,
        counters: &Arc<Counters>,
        topology_suspect: Option<Arc<Notify>>,
    ) -> Result<Self, Error> {
        let source = Source::fixed(address, options)?;
        Ok(Self::start(address.to_string(), source, options, counters, topology_suspect))
    }

    /// Returns how many connections a server gets.
    pub(crate) fn size(options: &Options) -> usize {
        options.max_connections.min(MOST_CONNECTIONS)
    }

    /// Sends a command, and returns what came back before the deadline.
    pub(crate) async fn send(&self, cmd: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let connection = self.connection(deadline).await?;
        let wait = connection.wait();
        let answer = timeout_at(deadline, connection.send(cmd)).await;
        wait.end();
        let answer = match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Full)) => return Err(self.full()),
            Err(late) => Err(late),
        };
        self.sorted(&connection, answer)
    }

    /// Sends commands one right after the other, and returns the answers to the last `count`.
    pub(crate) async fn send_all(
        &self,
        commands: &Pipeline,
        skip: usize,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Value>, Failure> {
        let connection = self.connection(deadline).await?;
        let mut multiplexed = connection.multiplexed();
        let wait = connection.wait();
        let answer =
            timeout_at(deadline, multiplexed.send_packed_commands(commands, skip, count)).await;
        wait.end();
        let answers = |values: Vec<Value>| values.into_iter().map(checked).collect();
        self.sorted(&connection, answer.map(|answer| answer.and_then(answers)))
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
    pub(crate) fn renew(&self, moment: Instant) {
        for slot in &self.shared.slots {
            slot.drop_older(moment);
        }
    }

    /// Follows a sentinel that says that one address took the place of another as the master. The other one
    /// is not connected to for a while, though a sentinel that did not hear of it yet, and the server itself,
    /// may say that it is master still.
    pub(crate) fn switch(&self, old: &str, new: &str) {
        // Whatever was said of it before, maybe late and by another sentinel.
        self.source.reinstate(new);
        // The other sentinels say the same.
        if self.address().as_deref() != Some(new) {
            self.source.depose(old);
            self.renew(Instant::now());
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
                return Err(self.shared.not_connected());
            }
        }
    }

    fn full(&self) -> Failure {
        Counters::add(&self.shared.counters.overloads);
        Failure::Overload { server: self.shared.server.clone(), waiting: MOST_WAITING }
    }

    fn sorted<T>(
        &self,
        connection: &Connection,
        answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        let timeout = self.shared.options.response_timeout;
        let server = &self.shared.server;
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let failure = Failure::of_sent(server, error, timeout);
                if matches!(failure, Failure::Lost { .. }) {
                    connection.health().mark_broken();
                }
                Err(failure)
            }
            Err(_) => {
                connection.health().probe_on_reuse();
                Counters::add(&self.shared.counters.late);
                Err(Failure::Late { server: server.clone(), timeout })
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
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
