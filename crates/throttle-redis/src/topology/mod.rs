//! Which server a key lives on, and what to do when a server says that it does not.
//!
//! A request is sent again only when the answer proves that it was not carried out: NOSCRIPT,
//! READONLY, MOVED, ASK, and the like. One whose answer was late or lost is never sent again.

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

/// Sends requests to where their keys live.
pub(crate) struct Topology {
    layout: Layout,
    options: Arc<Options>,
    pub(crate) background: Arc<Background>,
    counters: Arc<Counters>,
}

enum Layout {
    /// One server, or the one that is master among several.
    Single {
        pool: Arc<Pool>,
        /// Listens to the sentinels; ends with the storage.
        _listeners: Option<sentinel::Listeners>,
    },
    Cluster(Cluster),
    External(Arc<dyn ExternalClient>),
}

/// What to do after a request was not carried out.
enum Step {
    /// Load the script on the server, then ask it again.
    Load(Server, &'static Script),
    Now(Server),
    Later(Server),
}

const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

impl Topology {
    /// Begins to connect; needs a tokio runtime.
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

    /// Takes a connection that the user has already.
    pub(crate) fn external(connection: impl SharedConnection, options: &Arc<Options>) -> Self {
        let layout = Layout::External(external::boxed(connection, options.response_timeout));
        let background = Background::new();
        Self { layout, options: Arc::clone(options), background, counters: Arc::default() }
    }

    /// Waits until the servers were reached.
    pub(crate) async fn wait_for_connection(&self, within: Duration) -> Result<(), StorageError> {
        // A little longer than one attempt, so that why it failed is known.
        let deadline = Instant::now() + within + Duration::from_millis(100);
        match &self.layout {
            Layout::Single { pool, .. } => Ok(pool.wait(deadline).await?),
            Layout::Cluster(cluster) => Ok(cluster.wait(deadline).await?),
            Layout::External(_) => Ok(()),
        }
    }

    /// Sends a command about `key`, again if need be, until the response timeout.
    pub(crate) async fn call(&self, key: &[u8], command: &Cmd) -> Result<Value, Failure> {
        self.attempt(key, command, None).await
    }

    /// Calls a script as [`Topology::call`] sends a command, and loads it where it is missing.
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
            // A script that is missing was not run: its first load is no retry.
            let is_first_load = !loaded && matches!(step, Some(Step::Load(..)));
            let may_go_on = is_first_load || attempts < self.options.retries;
            let Some(step) = step.filter(|_| may_go_on) else { return Err(failure) };
            loaded |= is_first_load;
            attempts += u32::from(!is_first_load);
            Counters::add(&self.counters.retries);
            server = match step {
                Step::Now(server) => server,
                Step::Load(server, script) => {
                    // One that is missing again was lost at once: it is not sent as often as it can be.
                    if !is_first_load && !sleep_before_deadline(backoff.next(), deadline).await {
                        return Err(failure);
                    }
                    Counters::add(&self.counters.script_reloads);
                    // Not an asking one: the script is no key of the slot that moves.
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

    /// Returns every server that keys may live on.
    pub(crate) async fn masters(&self) -> Result<Vec<Server>, StorageError> {
        self.background.ready().map_err(Failure::from)?;
        match &self.layout {
            Layout::Single { pool, .. } => Ok(vec![Server::of(pool)]),
            Layout::Cluster(cluster) => Ok(cluster.masters().await?),
            Layout::External(client) => Ok(vec![Server::External(Arc::clone(client))]),
        }
    }

    /// Returns whether two keys may be in one script.
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

    /// Names the kind: `standalone`, `sentinel`, `cluster`, `given`.
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
            // One that leads to a cluster minds where keys are, and it cannot be told.
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

    /// Returns what to do, where it makes sense to ask again at all.
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

/// Waits, unless the deadline comes first.
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
