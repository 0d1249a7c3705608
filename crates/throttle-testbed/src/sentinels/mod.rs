//! A master, its replicas, and the Sentinels that monitor them.

mod builder;

use std::time::Duration;

pub use self::builder::SentinelsBuilder;
use crate::{
    resp::Reply,
    server::Server,
    wait::{self, DEFAULT_TIMEOUT},
};

/// The name of the master in the Sentinels.
const MASTER: &str = "mymaster";
const SERVERS: usize = 3;
const SENTINELS: usize = 3;

/// A master named `mymaster`, two replicas and three Sentinels.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let sentinels = throttle_testbed::Sentinels::start();
/// let old = sentinels.kill_master();
/// let new = sentinels.wait_for_new_master(old, Duration::from_secs(10));
/// assert_ne!(new.port(), old.port());
/// ```
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Sentinels {
    /// Returns `127.0.0.1:port` of each Sentinel.
    #[must_use]
    pub fn sentinel_addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::address).collect()
    }

    /// Returns the Sentinels, which can be killed like other servers.
    #[must_use]
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// Returns the initial master and its replicas, whose roles may have changed.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Returns the name of the master in the Sentinels.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// Returns the master that the first running Sentinel reports.
    ///
    /// # Panics
    ///
    /// If no Sentinel runs.
    #[must_use]
    pub fn master(&self) -> &Server {
        self.masters().into_iter().next().expect("no Sentinel runs")
    }

    /// Kills the master, and returns it.
    ///
    /// # Panics
    ///
    /// If no Sentinel runs.
    pub fn kill_master(&self) -> &Server {
        let master = self.master();
        master.kill();
        master
    }

    /// Triggers a failover of a healthy master, and returns the new master.
    ///
    /// # Panics
    ///
    /// If the failover takes more than half a minute.
    pub fn failover(&self) -> &Server {
        let old = self.master();
        // Shortly after another failover no replica is eligible yet.
        wait::until("a Sentinel to start a failover", DEFAULT_TIMEOUT, || {
            let sentinel = self.sentinels.iter().find(|sentinel| sentinel.is_running())?;
            let reply = sentinel.try_command(&["SENTINEL", "FAILOVER", MASTER]).ok()?;
            (!matches!(reply, Reply::Error(_))).then_some(())
        });
        self.wait_for_new_master(old, DEFAULT_TIMEOUT)
    }

    /// Waits until all running Sentinels report another master than `old` that accepts writes, and returns it.
    ///
    /// # Panics
    ///
    /// If this takes longer than `timeout`.
    pub fn wait_for_new_master(&self, old: &Server, timeout: Duration) -> &Server {
        wait::until("a new master", timeout, || {
            let masters = self.masters();
            let new = *masters.first()?;
            let agreed = masters.iter().all(|master| master.port() == new.port());
            (agreed && new.port() != old.port() && is_master(new)).then_some(new)
        })
    }

    /// Waits until all servers are healthy: all running Sentinels report the same master, which accepts writes, and
    /// all other running servers are its replicas and in sync.
    ///
    /// # Panics
    ///
    /// If this takes longer than `timeout`.
    pub fn wait_until_ok(&self, timeout: Duration) {
        wait::until("the replicas to be in sync", timeout, || {
            let masters = self.masters();
            let master = *masters.first()?;
            let agreed = masters.iter().all(|other| other.port() == master.port());
            let mut others =
                self.servers.iter().filter(|one| one.is_running() && one.port() != master.port());
            let well = agreed && is_master(master) && others.all(|one| follows(one, master));
            well.then_some(())
        });
    }

    /// Returns the master that each running Sentinel reports.
    fn masters(&self) -> Vec<&Server> {
        let running = self.sentinels.iter().filter(|sentinel| sentinel.is_running());
        running.map(|sentinel| self.named_by(sentinel)).collect()
    }

    fn named_by(&self, sentinel: &Server) -> &Server {
        let reply = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = reply.list()[1].integer();
        let named = self.servers.iter().find(|server| i64::from(server.port()) == port);
        named.unwrap_or_else(|| panic!("a Sentinel reports the unknown master {reply:?}"))
    }
}

fn follows(server: &Server, master: &Server) -> bool {
    let info = server.try_command(&["INFO", "replication"]).map(|reply| reply.to_string());
    let port = format!("master_port:{}", master.port());
    info.is_ok_and(|info| info.contains("master_link_status:up") && info.contains(&port))
}

fn is_master(server: &Server) -> bool {
    let role = server.try_command(&["ROLE"]);
    role.is_ok_and(|role| matches!(role, Reply::List(items) if items[0].bytes() == b"master"))
}
