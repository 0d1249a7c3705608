//! The shared storage (one Redis, a master with replicas and sentinels, or a cluster) and its
//! faults.

use std::time::Duration;

use throttle_redis::{RedisStorage, RedisStorageBuilder, Tls};
use throttle_testbed::{Cluster, Proxy, Sentinels, Server};

use crate::{load::HOT, options::Topology};

/// The faults of a single Redis.
const OF_ONE: &[&str] = &[PAUSED, KILLED, FLUSHED, FULL];
/// The faults of a master with replicas.
const OF_A_MASTER: &[&str] = &[PAUSED, KILLED, REPLACED, FLUSHED];
/// The faults of a cluster.
const OF_A_CLUSTER: &[&str] = &[PAUSED, KILLED, REPLACED, MOVED, FLUSHED];

/// The longest wait for a change of a Redis server.
const TIMEOUT: Duration = Duration::from_secs(30);

const PAUSED: &str = "Redis paused";
const KILLED: &str = "Redis killed";
const REPLACED: &str = "master replaced";
const MOVED: &str = "slot moved";
const FLUSHED: &str = "scripts flushed";
const FULL: &str = "Redis full";

/// The Redis servers.
#[derive(Debug)]
pub(crate) enum Shared {
    One(Server),
    Sentinels(Sentinels),
    Cluster(Cluster),
}

/// A fault that has begun and has not ended.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    /// The index of the affected server.
    victim: usize,
}

impl Shared {
    pub(crate) fn start(topology: Topology) -> Self {
        match topology {
            Topology::Redis => Self::One(Server::start()),
            Topology::Tls => Self::One(Server::builder().tls().start()),
            Topology::Sentinel => Self::Sentinels(Sentinels::start()),
            Topology::Cluster => Self::Cluster(Cluster::start()),
        }
    }

    /// Starts a proxy if the topology allows one. Clients of sentinels and clusters connect to the
    /// addresses that these report, and so would bypass a proxy.
    pub(crate) async fn proxy(&self) -> Option<Proxy> {
        match self {
            Self::One(server) => Some(Proxy::start(server.address()).await),
            Self::Sentinels(_) | Self::Cluster(_) => None,
        }
    }

    /// Returns a builder of a storage on it.
    pub(crate) fn storage(&self, proxy: Option<&Proxy>) -> RedisStorageBuilder {
        match self {
            Self::One(server) => {
                let address = proxy.map_or_else(|| server.address(), Proxy::address);
                let url = server.url().replace(&server.address(), &address);
                let storage = RedisStorage::builder(&url);
                if url.starts_with("redis:") {
                    return storage;
                }
                let files = server.certificates();
                storage.tls(Tls::new().ca(files.ca()).client(files.client(), files.client_key()))
            }
            Self::Sentinels(sentinels) => {
                RedisStorage::sentinel(sentinels.sentinel_addresses(), sentinels.master_name())
            }
            Self::Cluster(cluster) => RedisStorage::cluster(cluster.urls()),
        }
    }

    /// Returns whether another server takes over when one fails.
    pub(crate) fn is_replicated(&self) -> bool {
        !matches!(self, Self::One(_))
    }

    /// Draws a fault.
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> &'static str {
        let kinds = match self {
            Self::One(_) => OF_ONE,
            Self::Sentinels(_) => OF_A_MASTER,
            Self::Cluster(_) => OF_A_CLUSTER,
        };
        kinds[random.usize(..kinds.len())]
    }

    /// Returns whether a fault loses charges: replication is asynchronous.
    pub(crate) fn loses(&self, kind: &str) -> bool {
        match self {
            Self::One(_) => kind == KILLED,
            Self::Sentinels(_) => kind != FLUSHED,
            // A requested failover waits until the replica has all data.
            Self::Cluster(_) => kind == PAUSED || kind == KILLED,
        }
    }

    /// Begins a fault, and waits until another server has taken over, if one does.
    pub(crate) fn begin(&self, kind: &'static str, random: &mut fastrand::Rng) -> Fault {
        let victim = match self {
            Self::One(server) => {
                begin_at(server, kind);
                0
            }
            Self::Sentinels(sentinels) => begin_at_master(sentinels, kind),
            Self::Cluster(cluster) => begin_in_cluster(cluster, kind, random),
        };
        Fault { kind, victim }
    }

    /// Ends a fault, and waits until all Redis servers are healthy.
    pub(crate) fn end(&self, fault: Fault) {
        match self {
            Self::One(server) => end_at(server, fault.kind),
            Self::Sentinels(sentinels) => {
                end_at(&sentinels.servers()[fault.victim], fault.kind);
                sentinels.wait_until_ok(TIMEOUT);
            }
            Self::Cluster(cluster) => {
                let server = cluster.servers().nth(fault.victim);
                end_at(server.expect("the cluster has this server"), fault.kind);
                cluster.wait_until_ok(TIMEOUT);
            }
        }
    }
}

fn begin_at(server: &Server, kind: &str) {
    match kind {
        PAUSED => server.pause(),
        KILLED => server.kill(),
        FULL => drop(server.command(&["CONFIG", "SET", "maxmemory", "1mb"])),
        _ => drop(server.command(&["SCRIPT", "FLUSH"])),
    }
}

fn end_at(server: &Server, kind: &str) {
    match kind {
        PAUSED => server.resume(),
        KILLED => server.restart(),
        FULL => drop(server.command(&["CONFIG", "SET", "maxmemory", "0"])),
        _ => {}
    }
}

fn begin_at_master(sentinels: &Sentinels, kind: &str) -> usize {
    let master = sentinels.master();
    match kind {
        REPLACED => drop(sentinels.failover()),
        FLUSHED => begin_at(master, kind),
        _ => {
            begin_at(master, kind);
            sentinels.wait_for_new_master(master, TIMEOUT);
        }
    }
    index_of(sentinels.servers().iter(), master)
}

fn begin_in_cluster(cluster: &Cluster, kind: &str, random: &mut fastrand::Rng) -> usize {
    let masters = cluster.masters();
    let master = masters[random.usize(..masters.len())];
    match kind {
        REPLACED => cluster.failover(cluster.replica_of(master)),
        MOVED => {
            let slot = cluster.slot_of(&format!("k{}", random.u32(..HOT)));
            let owner = cluster.node_of_slot(slot).port();
            let others: Vec<_> = masters.iter().filter(|other| other.port() != owner).collect();
            cluster.move_slot(slot, others[random.usize(..others.len())]);
        }
        FLUSHED => begin_at(master, kind),
        _ => {
            begin_at(master, kind);
            cluster.wait_until_ok(TIMEOUT);
        }
    }
    index_of(cluster.servers(), master)
}

fn index_of<'a>(mut servers: impl Iterator<Item = &'a Server>, of: &Server) -> usize {
    servers.position(|server| server.port() == of.port()).expect("the server is one of them")
}
