//! A master, its replicas, and the Sentinels that watch them.

mod builder;

use std::time::Duration;

pub use self::builder::SentinelsBuilder;
use crate::{
    resp::Reply,
    server::Server,
    wait::{self, PATIENCE},
};

/// The name of the master in all questions to a Sentinel.
const MASTER: &str = "mymaster";
const SERVERS: usize = 3;
const SENTINELS: usize = 3;

/// Holds a master, two replicas and three Sentinels, which call the master `mymaster`.
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

    /// Returns the first master and its replicas, whatever their roles are now.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Returns the name that the Sentinels know the master by.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// Returns the master, as the first running Sentinel has it.
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

    /// Has the Sentinels put another in the place of a healthy master, and returns the new one.
    ///
    /// # Panics
    ///
    /// If that takes more than half a minute.
    pub fn failover(&self) -> &Server {
        let old = self.master();
        // Soon after another failover no replica is good enough, for a moment.
        wait::until("a Sentinel to begin a failover", PATIENCE, || {
            let sentinel = self.sentinels.iter().find(|sentinel| sentinel.is_running())?;
            let reply = sentinel.try_command(&["SENTINEL", "FAILOVER", MASTER]).ok()?;
            (!matches!(reply, Reply::Error(_))).then_some(())
        });
        self.wait_for_new_master(old, PATIENCE)
    }

    /// Returns the master after `old`, when all running Sentinels name it and it takes writes.
    ///
    /// # Panics
    ///
    /// If that is not so after `timeout`.
    pub fn wait_for_new_master(&self, old: &Server, timeout: Duration) -> &Server {
        wait::until("another master", timeout, || {
            let masters = self.masters();
            let new = *masters.first()?;
            let agreed = masters.iter().all(|master| master.port() == new.port());
            (agreed && new.port() != old.port() && is_master(new)).then_some(new)
        })
    }

    /// Waits until all is well: every running Sentinel names the same master, which takes writes, and all
    /// other servers that run are its replicas and in sync.
    ///
    /// # Panics
    ///
    /// If that is not so after `timeout`.
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

    /// Returns whom each of the running Sentinels names.
    fn masters(&self) -> Vec<&Server> {
        let running = self.sentinels.iter().filter(|sentinel| sentinel.is_running());
        running.map(|sentinel| self.named_by(sentinel)).collect()
    }

    fn named_by(&self, sentinel: &Server) -> &Server {
        let reply = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = reply.list()[1].integer();
        let named = self.servers.iter().find(|server| i64::from(server.port()) == port);
        named.unwrap_or_else(|| panic!("a Sentinel names {reply:?}, which is none of ours"))
    }
}

fn follows(server: &Server, master: &Server) -> bool {
    let says = server.try_command(&["INFO", "replication"]).map(|said| said.to_string());
    let port = format!("master_port:{}", master.port());
    says.is_ok_and(|says| says.contains("master_link_status:up") && says.contains(&port))
}

fn is_master(server: &Server) -> bool {
    let role = server.try_command(&["ROLE"]);
    role.is_ok_and(|role| matches!(role, Reply::List(items) if items[0].bytes() == b"master"))
}
