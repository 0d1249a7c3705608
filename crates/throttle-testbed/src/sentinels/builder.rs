//! What the servers and their Sentinels are started with.

use std::time::Duration;

use crate::{
    certificates::Authority,
    port::Port,
    random::Random,
    sentinels::{MASTER, SENTINELS, SERVERS, Sentinels},
    server::{self, ADMIN, Server, ServerBuilder},
};

/// How often Sentinels look around, in milliseconds: more often than they would.
///
/// A replica whose last answer is older than five pings is not elected, and it is asked once a
/// second then. A busy machine must not tilt Sentinels, which would stop them for half a minute.
const HASTE: [(&str, &str); 6] = [
    ("PING-PERIOD", "400"),
    ("ASK-PERIOD", "100"),
    ("PUBLISH-PERIOD", "200"),
    ("INFO-PERIOD", "500"),
    ("ELECTION-TIMEOUT", "1000"),
    ("TILT-TRIGGER", "30000"),
];

/// Builds [`Sentinels`].
#[derive(Clone, Debug)]
pub struct SentinelsBuilder {
    servers: ServerBuilder,
    sentinels: ServerBuilder,
    down_after: Duration,
}

impl Default for SentinelsBuilder {
    fn default() -> Self {
        Self {
            servers: ServerBuilder::default(),
            sentinels: ServerBuilder::default(),
            down_after: Duration::from_millis(500),
        }
    }
}

impl Sentinels {
    /// Starts them without passwords and TLS.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Returns a builder.
    #[must_use]
    pub fn builder() -> SentinelsBuilder {
        SentinelsBuilder::default()
    }

    fn wait_until_linked(&self) {
        let others = format!("OK {SENTINELS} usable");
        for sentinel in &self.sentinels {
            sentinel.wait_until_it_says(&["SENTINEL", "CKQUORUM", MASTER], &others, 1);
            let replicas = ["SENTINEL", "REPLICAS", MASTER];
            sentinel.wait_until_it_says(&replicas, "master-link-status\nok", SERVERS - 1);
        }
    }
}

impl SentinelsBuilder {
    /// Requires this password of the default user on the master and the replicas.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.servers = self.servers.password(password);
        self
    }

    /// Adds a user to the master and the replicas, with rules as in `ACL SETUSER`.
    #[must_use]
    pub fn acl_user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.servers = self.servers.acl_user(name, password, rules);
        self
    }

    /// Requires this password of the default user on the Sentinels.
    #[must_use]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinels = self.sentinels.password(password);
        self
    }

    /// Adds a user to the Sentinels, with rules as in `ACL SETUSER`.
    #[must_use]
    pub fn sentinel_acl_user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.sentinels = self.sentinels.acl_user(name, password, rules);
        self
    }

    /// Has TLS everywhere; all share the certificates, and clients must show one.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.servers = self.servers.tls();
        self.sentinels = self.sentinels.tls();
        self
    }

    /// Sets an option of the master's and the replicas' `redis.conf`.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.servers = self.servers.option(name, value);
        self
    }

    /// Sets after what silence the first Sentinel holds a server to be down; half a second by default.
    ///
    /// The second takes half as long again, the third twice as long; two must agree.
    #[must_use]
    pub fn down_after(mut self, silence: Duration) -> Self {
        self.down_after = silence;
        self
    }

    /// Starts them all, and returns when the replicas are in sync and every Sentinel sees the others.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed or does not start with these options.
    #[must_use]
    pub fn start(self) -> Sentinels {
        let authority = self.servers.wants_tls().then(Authority::new);
        let started = server::attempt(|| self.launch(authority.as_ref()));
        for sentinel in &started.sentinels {
            for (name, value) in HASTE {
                // One before Redis 7.0 does not know it, and is only slower.
                let _ = sentinel.try_command(&["SENTINEL", "DEBUG", name, value]);
            }
        }
        started.wait_until_linked();
        started
    }

    fn launch(&self, authority: Option<&Authority>) -> Result<Sentinels, String> {
        // A replica that does not find its master at once looks again after a second.
        let mut servers = vec![self.servers.launch(Port::reserve(), authority)];
        servers[0].wait_until_ready()?;
        let replica =
            self.servers.clone().option("replicaof", format!("127.0.0.1 {}", servers[0].port()));
        servers.extend((1..SERVERS).map(|_| replica.launch(Port::reserve(), authority)));
        // Sentinels look at once, and then not for a second.
        for replica in &servers[1..] {
            replica.wait_until_ready()?;
            replica.wait_until_it_says(&["INFO", "replication"], "master_link_status:up", 1);
        }
        let mut random = Random::new();
        let known: Vec<_> = (0..SENTINELS).map(|_| (Port::reserve(), random.id())).collect();
        let settings: Vec<_> = (0..SENTINELS).map(|i| self.sentinel(i, &known, &servers)).collect();
        let sentinels: Vec<_> = known
            .into_iter()
            .zip(settings)
            .map(|((port, _), builder)| builder.launch(port, authority))
            .collect();
        sentinels.iter().try_for_each(Server::wait_until_ready)?;
        Ok(Sentinels { servers, sentinels })
    }

    /// Tells a Sentinel at once what it would find out in ten seconds: who else is there.
    fn sentinel(&self, i: usize, known: &[(Port, String)], servers: &[Server]) -> ServerBuilder {
        let master = servers[0].port();
        // One after another: Sentinels that stand for election at the same moment vote for
        // themselves, and try again only seconds later.
        let down_after = self.down_after.as_millis() * (2 + i as u128) / 2;
        let mut lines = vec![
            format!("myid {}", known[i].1),
            format!("sentinel-user {ADMIN}"),
            format!("sentinel-pass {ADMIN}"),
            format!("monitor {MASTER} 127.0.0.1 {master} {}", SENTINELS / 2 + 1),
            format!("auth-user {MASTER} {ADMIN}"),
            format!("auth-pass {MASTER} {ADMIN}"),
            format!("down-after-milliseconds {MASTER} {down_after}"),
            format!("failover-timeout {MASTER} {}", self.down_after.as_millis() * 4),
            format!("parallel-syncs {MASTER} {SERVERS}"),
        ];
        for replica in &servers[1..] {
            lines.push(format!("known-replica {MASTER} 127.0.0.1 {}", replica.port()));
        }
        for (port, id) in known.iter().filter(|(_, id)| *id != known[i].1) {
            lines.push(format!("known-sentinel {MASTER} 127.0.0.1 {} {id}", port.number()));
        }
        let builder = self.sentinels.clone().sentinel();
        lines.into_iter().fold(builder, |builder, line| builder.option("sentinel", line))
    }
}
