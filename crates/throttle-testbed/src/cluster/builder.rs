//! The builder of a cluster.

use std::{fmt::Write, fs, time::Duration};

use crate::{
    certificates::Authority,
    cluster::{Cluster, Node, view::SLOTS},
    port::Port,
    random::Random,
    server::{self, Server, ServerBuilder},
    wait::DEFAULT_TIMEOUT,
};

const MASTERS: usize = 3;

/// A builder of a [`Cluster`].
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    nodes: ServerBuilder,
    node_timeout: Duration,
    full_coverage: bool,
    replicas: bool,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self {
            nodes: ServerBuilder::default(),
            node_timeout: Duration::from_millis(1_500),
            full_coverage: true,
            replicas: true,
        }
    }
}

impl Cluster {
    /// Starts a cluster without a password and without TLS.
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
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }
}

impl ClusterBuilder {
    /// Sets the password of the default user.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.nodes = self.nodes.password(password);
        self
    }

    /// Adds a user with rules as in `ACL SETUSER`.
    #[must_use]
    pub fn acl_user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.nodes = self.nodes.acl_user(name, password, rules);
        self
    }

    /// Enables TLS on all nodes, with shared certificates. Clients need a certificate.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.nodes = self.nodes.tls();
        self
    }

    /// Sets an option of every node's `redis.conf`.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.nodes = self.nodes.option(name, value);
        self
    }

    /// Sets `cluster-node-timeout`; 1.5 seconds by default.
    #[must_use]
    pub fn node_timeout(mut self, silence: Duration) -> Self {
        self.node_timeout = silence;
        self
    }

    /// Sets `cluster-require-full-coverage`: whether a slot without a master stops the whole cluster.
    #[must_use]
    pub fn full_coverage(mut self, required: bool) -> Self {
        self.full_coverage = required;
        self
    }

    /// Starts no replicas, which halves the processes of tests in which no master fails.
    #[must_use]
    pub fn without_replicas(mut self) -> Self {
        self.replicas = false;
        self
    }

    /// Starts all nodes, and returns when each of them reports the cluster as healthy.
    ///
    /// This takes two seconds, the time that a master waits after its start before it serves a cluster.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed or does not start with these options.
    #[must_use]
    pub fn start(self) -> Cluster {
        let authority = self.nodes.wants_tls().then(Authority::new);
        let cluster = server::attempt(|| self.launch(authority.as_ref()));
        cluster.wait_until_ok(DEFAULT_TIMEOUT);
        cluster
    }

    fn launch(&self, authority: Option<&Authority>) -> Result<Cluster, String> {
        let builder = self
            .nodes
            .clone()
            .cluster_node()
            .option("cluster-node-timeout", self.node_timeout.as_millis().to_string())
            .option("cluster-require-full-coverage", if self.full_coverage { "yes" } else { "no" })
            // A replica may be elected regardless of the time since its last contact with the master.
            .option("cluster-replica-validity-factor", "0");
        let mut random = Random::new();
        let count = if self.replicas { 2 * MASTERS } else { MASTERS };
        let prepare = |_| {
            let server = builder.prepare(Port::reserve(), authority);
            Node { id: random.id(), server }
        };
        let nodes: Vec<_> = (0..count).map(prepare).collect();
        for (i, node) in nodes.iter().enumerate() {
            fs::write(node.server.folder().join("nodes.conf"), nodes_conf(&nodes, i))
                .expect("cannot write nodes.conf");
            node.server.launch();
        }
        nodes.iter().map(|node| &node.server).try_for_each(Server::wait_until_ready)?;
        Ok(Cluster { nodes })
    }
}

/// Returns `nodes.conf` of the node `myself`, with all nodes and their slots.
///
/// The format is the same as in `CLUSTER NODES`. With `CLUSTER MEET`, the nodes would need seconds to discover
/// each other.
fn nodes_conf(nodes: &[Node], myself: usize) -> String {
    let mut text = String::new();
    for (i, Node { id, server }) in nodes.iter().enumerate() {
        let flags = if i == myself { "myself," } else { "" };
        let (port, bus) = (server.port(), server.bus());
        let address = format!("127.0.0.1:{port}@{bus}");
        let epoch = i % MASTERS + 1;
        let line = if i < MASTERS {
            let (first, end) = (i * SLOTS / MASTERS, (i + 1) * SLOTS / MASTERS);
            format!("{flags}master - 0 0 {epoch} connected {first}-{}", end - 1)
        } else {
            format!("{flags}slave {} 0 0 {epoch} connected", nodes[i - MASTERS].id)
        };
        let _ = writeln!(text, "{id} {address} {line}");
    }
    let _ = writeln!(text, "vars currentEpoch {MASTERS} lastVoteEpoch 0");
    text
}
