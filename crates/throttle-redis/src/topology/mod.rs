//! The topology: the server of each key, and the reaction to failovers, redirections and missing scripts.
//!
//! A request is sent again only if the answer proves that it was not carried out: `NOSCRIPT`, `READONLY`,
//! `MOVED`, `ASK` and similar errors. If the answer is late or lost, the request is never sent again: it may have
//! been carried out, and a second charge would be wrong.

mod cluster;
mod external;
mod sentinel;
mod server;
mod slots;

use std::{fmt, sync::Arc, time::Duration};

use redis::{Cmd, RedisError, Value};
use throttle_core::StorageError;
use tokio::time::{Instant, sleep_until};

pub use self::external::SharedConnection;
pub(crate) use self::server::Server;
use self::{cluster::Cluster, external::ExternalClient};
use crate::{
    background::Background,
    error::{Error, Failure, is_no_script, is_read_only, is_transient},
    lua::{Script, ScriptCall},
    options::{Endpoints, Options},
    pool::{Pool, Source},
    retry::Backoff,
    stats::{Counters, Stats},
};

/// The servers of a storage, which routes each request to the server of its key.
pub(crate) struct Topology {
    layout: Layout,
    options: Arc<Options>,
    pub(crate) background: Arc<Background>,
    counters: Arc<Counters>,
}

enum Layout {
    /// One server, or the master that the sentinels report.
    Single {
        pool: Arc<Pool>,
        /// The tasks that listen to the sentinels.
        _listeners: Option<sentinel::Listeners>,
    },
    Cluster(Cluster),
    External(Arc<dyn ExternalClient>),
}

/// The next step after a request that was not carried out.
enum Step {
    /// Load the script on the server, then send the request again.
    Load(Server, &'static Script),
    /// Send the request to this server at once.
    Now(Server),
    /// Send the request again after a wait.
    Later(Server),
}

const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

impl Topology {
    /// Starts to connect in the background. This must be called within a tokio runtime.
    pub(crate) fn start(options: &Arc<Options>) -> Result<Self, Error> {
        let (background, counters) = (Background::new(), Arc::new(Counters::default()));
        let layout = match &options.endpoints {
            Endpoints::Standalone(address) => {
                let pool = Pool::of_address(address, options, &background, &counters, None)?;
                Layout::Single { pool: Arc::new(pool), _listeners: None }
            }
            Endpoints::Unix(path) => {
                let source = Source::unix(path, options)?;
                let server = path.display().to_string();
                let pool = Pool::start(server, source, options, &background, &counters, None);
                Layout::Single { pool: Arc::new(pool), _listeners: None }
            }
            Endpoints::Sentinel { sentinels, master } => {
                let (pool, listeners) =
                    sentinel::start(sentinels, master, options, &background, &counters)?;
                Layout::Single { pool, _listeners: Some(listeners) }
            }
            Endpoints::Cluster { nodes } => {
                Layout::Cluster(Cluster::start(nodes, options, &background, &counters)?)
            }
        };
        Ok(Self { layout, options: Arc::clone(options), background, counters })
    }

    /// Creates the topology of a connection that the user provides.
    pub(crate) fn external(connection: impl SharedConnection, options: &Arc<Options>) -> Self {
        let layout = Layout::External(external::boxed(connection, options.response_timeout));
        let background = Background::new();
        Self { layout, options: Arc::clone(options), background, counters: Arc::default() }
    }

    /// Waits until all servers are connected.
    pub(crate) async fn wait_for_connection(&self, within: Duration) -> Result<(), StorageError> {
        // Slightly longer than one attempt, so that its error is available.
        let deadline = Instant::now() + within + Duration::from_millis(100);
        match &self.layout {
            Layout::Single { pool, .. } => Ok(pool.wait(deadline).await?),
            Layout::Cluster(cluster) => Ok(cluster.wait(deadline).await?),
            Layout::External(_) => Ok(()),
        }
    }

    /// Sends a command to the server of `key`, with retries until the response timeout.
    pub(crate) async fn call(&self, key: &[u8], command: &Cmd) -> Result<Value, Failure> {
        self.attempt(key, command, None).await
    }

    /// Calls a script with the same retries as [`Topology::call`], and loads it if it is missing.
    pub(crate) async fn run(&self, call: &ScriptCall) -> Result<Value, Failure> {
        self.attempt(call.key(), call.command(), Some(call.script())).await
    }

    async fn attempt(
        &self,
        key: &[u8],
        command: &Cmd,
        script: Option<&'static Script>,
    ) -> Result<Value, Failure> {
        self.background.ready()?;
        let deadline = Instant::now() + self.options.response_timeout;
        let slot = self.slot_of(key);
        let mut server = self.server_of(slot, deadline).await?;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (mut attempts, mut loaded) = (0, false);
        loop {
            let sent = Instant::now();
            let failure = match server.send(command, deadline).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let step = self.step_after(&failure, server, script, sent);
            // Loading a missing script for the first time does not count as a retry.
            let is_first_load = !loaded && matches!(step, Some(Step::Load(..)));
            let may_go_on = is_first_load || attempts < self.options.retries;
            let Some(step) = step.filter(|_| may_go_on) else { return Err(failure) };
            loaded |= is_first_load;
            attempts += u32::from(!is_first_load);
            Counters::add(&self.counters.retries);
            server = match step {
                Step::Now(server) => server,
                Step::Load(server, script) => {
                    // The script was lost right after it was loaded. Without a wait, the loop would load it as
                    // fast as Redis answers.
                    if !is_first_load && !sleep_before_deadline(backoff.next(), deadline).await {
                        return Err(failure);
                    }
                    Counters::add(&self.counters.script_reloads);
                    // Without ASKING, which is for commands on keys of a slot that moves.
                    server.without_asking().send(&script.load(), deadline).await?;
                    server
                }
                Step::Later(server) => {
                    if !sleep_before_deadline(backoff.next(), deadline).await {
                        return Err(failure);
                    }
                    match &self.layout {
                        Layout::Cluster(cluster) => cluster.server_of(slot, deadline).await?,
                        _ => server,
                    }
                }
            };
        }
    }

    /// Sends a command to one server, once.
    pub(crate) async fn call_at(
        &self,
        server: &Server,
        command: &Cmd,
    ) -> Result<Value, StorageError> {
        self.background.ready().map_err(Failure::from)?;
        let deadline = Instant::now() + self.options.response_timeout;
        Ok(server.send(command, deadline).await?)
    }

    /// Returns all servers that store keys.
    pub(crate) async fn masters(&self) -> Result<Vec<Server>, StorageError> {
        self.background.ready().map_err(Failure::from)?;
        match &self.layout {
            Layout::Single { pool, .. } => Ok(vec![Server::of(pool)]),
            Layout::Cluster(cluster) => Ok(cluster.masters().await?),
            Layout::External(client) => Ok(vec![Server::External(Arc::clone(client))]),
        }
    }

    /// Returns whether two keys may be in one script call or command.
    pub(crate) fn share_slot(&self, one: &[u8], two: &[u8]) -> bool {
        self.slot_of(one) == self.slot_of(two)
    }

    pub(crate) fn stats(&self) -> Stats {
        let (connections, servers) = match &self.layout {
            Layout::Single { pool, .. } => (pool.connections(), 1),
            Layout::Cluster(cluster) => cluster.connections(),
            Layout::External(_) => (1, 1),
        };
        self.counters.stats(connections, servers * Pool::size(&self.options))
    }

    /// Returns the name of the topology: `standalone`, `sentinel`, `cluster` or `given`.
    pub(crate) fn kind(&self) -> &'static str {
        match (&self.layout, &self.options.endpoints) {
            (Layout::External(_), _) => external::NAME,
            (_, Endpoints::Standalone(_) | Endpoints::Unix(_)) => "standalone",
            (_, Endpoints::Sentinel { .. }) => "sentinel",
            (_, Endpoints::Cluster { .. }) => "cluster",
        }
    }

    fn slot_of(&self, key: &[u8]) -> u16 {
        match &self.layout {
            Layout::Single { .. } => 0,
            // The user's connection may lead to a cluster, which cannot be detected.
            Layout::Cluster(_) | Layout::External(_) => slots::slot_of(key),
        }
    }

    async fn server_of(&self, slot: u16, deadline: Instant) -> Result<Server, Failure> {
        match &self.layout {
            Layout::Single { pool, .. } => Ok(Server::of(pool)),
            Layout::Cluster(cluster) => cluster.server_of(slot, deadline).await,
            Layout::External(client) => Ok(Server::External(Arc::clone(client))),
        }
    }

    /// Returns the next step after a failure, or `None` if the request must not be sent again.
    fn step_after(
        &self,
        failure: &Failure,
        server: Server,
        script: Option<&'static Script>,
        sent: Instant,
    ) -> Option<Step> {
        if let Layout::Cluster(cluster) = &self.layout {
            cluster.observe_failure(failure);
            if matches!(failure, Failure::NotConnected { .. }) {
                return Some(Step::Later(server));
            }
        }
        let error = failure.error_reply()?;
        if is_no_script(error) {
            return script.map(|script| Step::Load(server, script));
        }
        if is_read_only(error) {
            if let Server::Pool { pool, .. } = &server {
                pool.replace_older(sent);
            }
            return Some(Step::Later(server));
        }
        if let Layout::Cluster(cluster) = &self.layout
            && let Some(next) = self.redirected(cluster, error, &server)
        {
            return Some(Step::Now(next));
        }
        is_transient(error).then_some(Step::Later(server))
    }

    fn redirected(&self, cluster: &Cluster, error: &RedisError, asked: &Server) -> Option<Server> {
        let asking = error.code() == Some("ASK");
        let (address, _) = error.redirect_node()?;
        Counters::add(&self.counters.redirections);
        cluster.redirect_target(address, asked, asking)
    }
}

/// Waits, and returns `true`. If the deadline is earlier, returns `false` at once.
async fn sleep_before_deadline(wait: Duration, deadline: Instant) -> bool {
    let end = Instant::now() + wait;
    if end >= deadline {
        return false;
    }
    sleep_until(end).await;
    true
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology")
            .field("kind", &self.kind())
            .field("endpoints", &self.options.endpoints)
            .finish_non_exhaustive()
    }
}
