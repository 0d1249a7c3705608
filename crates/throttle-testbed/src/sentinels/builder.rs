//! The builder of a master, its replicas and their Sentinels.

use std::time::Duration;

use crate::{
    certificates::Authority,
    port::Port,
    random::Random,
    sentinels::{MASTER, SENTINELS, SERVERS, Sentinels},
    server::{self, ADMIN, Server, ServerBuilder},
};

/// The periods of Sentinel in milliseconds, which are shorter than the defaults so that tests take less time.
///
/// A replica whose last answer is older than five ping periods is not elected, so the ping period must not be too
/// short. The tilt trigger is high: on a busy machine, tilt mode would stop the Sentinels for half a minute.
const PERIODS: [(&str, &str); 6] = [
    ("PING-PERIOD", "400"),
    ("ASK-PERIOD", "100"),
    ("PUBLISH-PERIOD", "200"),
    ("INFO-PERIOD", "500"),
    ("ELECTION-TIMEOUT", "1000"),
    ("TILT-TRIGGER", "30000"),
];

/// A builder of [`Sentinels`].
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
    /// Starts the servers without passwords and without TLS.
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
            sentinel.wait_for_words(&["SENTINEL", "CKQUORUM", MASTER], &others, 1);
            let replicas = ["SENTINEL", "REPLICAS", MASTER];
            sentinel.wait_for_words(&replicas, "master-link-status\nok", SERVERS - 1);
        }
    }
}

impl SentinelsBuilder {
    /// Sets the password of the default user on the master and the replicas.
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

    /// Sets the password of the default user on the Sentinels.
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

    /// Enables TLS on all servers, with shared certificates. Clients need a certificate.
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

    /// Sets `down-after-milliseconds` of the first Sentinel; half a second by default.
    ///
    /// The second Sentinel waits 1.5 times as long, and the third twice as long. Two must agree.
    #[must_use]
    pub fn down_after(mut self, silence: Duration) -> Self {
        self.down_after = silence;
        self
    }

    /// Starts all servers, and returns when the replicas are in sync and every Sentinel knows the others.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed or does not start with these options.
    #[must_use]
    pub fn start(self) -> Sentinels {
        let authority = self.servers.wants_tls().then(Authority::new);
        let started = server::attempt(|| self.launch(authority.as_ref()));
        for sentinel in &started.sentinels {
            for (name, value) in PERIODS {
                // Before Redis 7.0 the command does not exist, and the Sentinels are only slower.
                let _ = sentinel.try_command(&["SENTINEL", "DEBUG", name, value]);
            }
        }
        started.wait_until_linked();
        started
    }

    fn launch(&self, authority: Option<&Authority>) -> Result<Sentinels, String> {
        // The master first: a replica that does not find it retries only after a second.
        let mut servers = vec![self.servers.launch(Port::reserve(), authority)];
        servers[0].wait_until_ready()?;
        let replica =
            self.servers.clone().option("replicaof", format!("127.0.0.1 {}", servers[0].port()));
        servers.extend((1..SERVERS).map(|_| replica.launch(Port::reserve(), authority)));
        // The replicas first: Sentinels check them at their start, and then only after a second.
        for replica in &servers[1..] {
            replica.wait_until_ready()?;
            replica.wait_for_words(&["INFO", "replication"], "master_link_status:up", 1);
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

    /// Configures a Sentinel with the replicas and the other Sentinels, whose discovery would take ten seconds.
    fn sentinel(&self, i: usize, known: &[(Port, String)], servers: &[Server]) -> ServerBuilder {
        let master = servers[0].port();
        // Different for each: Sentinels that start an election at the same time vote for themselves, and retry
        // only seconds later.
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
