//! A cluster of three masters, each with a replica.

mod builder;
mod slot_move;
mod view;

use std::time::Duration;

use self::view::{NodeView, SLOTS, served};
pub use self::{builder::ClusterBuilder, slot_move::SlotMove};
use crate::{
    server::Server,
    wait::{self, DEFAULT_TIMEOUT},
};

/// A cluster of six nodes: three masters, and then their replicas in the same order.
///
/// # Examples
///
/// ```no_run
/// let cluster = throttle_testbed::Cluster::start();
/// let owner = cluster.node_of_slot(0);
/// let other = cluster.masters().into_iter().find(|node| node.port() != owner.port());
/// cluster.move_slot(0, other.unwrap());
/// ```
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    id: String,
    server: Server,
}

impl Cluster {
    /// Returns `127.0.0.1:port` of each node, starting with the initial masters.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.servers().map(Server::address).collect()
    }

    /// Returns the URL of each node, starting with the initial masters.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers().map(Server::url).collect()
    }

    /// Returns all nodes, starting with the initial masters. [`Server::kill`] kills a node.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().map(|node| &node.server)
    }

    /// Returns the current masters, according to the first running node.
    ///
    /// # Panics
    ///
    /// If no node runs.
    #[must_use]
    pub fn masters(&self) -> Vec<&Server> {
        let views = self.views();
        let masters = views.iter().filter(|node| node.is_master && node.serves_any());
        masters.map(|node| self.server(&node.id)).collect()
    }

    /// Returns the node that serves a slot, according to the first running node.
    ///
    /// # Panics
    ///
    /// If no node runs, or no node serves the slot.
    #[must_use]
    pub fn node_of_slot(&self, slot: u16) -> &Server {
        let views = self.views();
        let owner = views.iter().find(|node| node.serves(slot));
        self.server(&owner.unwrap_or_else(|| panic!("no node serves slot {slot}")).id)
    }

    /// Returns the slot of a key.
    ///
    /// # Panics
    ///
    /// If no node runs.
    #[must_use]
    pub fn slot_of(&self, key: &str) -> u16 {
        let slot = self.first_running().command(&["CLUSTER", "KEYSLOT", key]).integer();
        u16::try_from(slot).expect("slots end at 16383")
    }

    /// Returns the running replica of a master, according to the first running node.
    ///
    /// # Panics
    ///
    /// If no node runs, or the master has no running replica.
    #[must_use]
    pub fn replica_of(&self, master: &Server) -> &Server {
        let (views, id) = (self.views(), self.id(master));
        let replicas = views.iter().filter(|node| node.master.as_deref() == Some(id));
        replicas
            .map(|node| self.server(&node.id))
            .find(|server| server.is_running())
            .unwrap_or_else(|| panic!("{} has no running replica", master.address()))
    }

    /// Promotes a replica of a healthy master, and returns when all nodes have noticed it.
    ///
    /// # Panics
    ///
    /// If this takes more than half a minute.
    pub fn failover(&self, replica: &Server) {
        let id = self.id(replica);
        replica.command(&["CLUSTER", "FAILOVER"]);
        wait::until("a replica to become the master", DEFAULT_TIMEOUT, || {
            let knows = |node: &Node| {
                let views = read_views(&node.server)?;
                views.into_iter().find(|view| view.id == id && view.serves_any())
            };
            self.running().all(|node| knows(node).is_some()).then_some(())
        });
        self.wait_until_ok(DEFAULT_TIMEOUT);
    }

    /// Waits until the cluster is healthy: all running nodes agree on their roles, they serve all slots, and
    /// the running replicas are in sync.
    ///
    /// # Panics
    ///
    /// If this takes longer than `timeout`.
    pub fn wait_until_ok(&self, timeout: Duration) {
        wait::until("the cluster to be healthy", timeout, || {
            let mut views = self.running().map(|node| self.view_of_running(node));
            let first = views.next()??;
            let agreed = views.all(|view| view.as_ref() == Some(&first));
            let whole = served(&first) == SLOTS && !first.iter().any(|view| view.has_failed);
            let well = agreed && whole && self.running().all(|node| is_healthy(node, &first));
            well.then_some(())
        });
    }

    /// Returns a node's view of the running nodes, ordered by ID.
    fn view_of_running(&self, node: &Node) -> Option<Vec<NodeView>> {
        let mut views = read_views(&node.server)?;
        views.retain(|view| self.running().any(|node| node.id == view.id));
        views.sort_by(|a, b| a.id.cmp(&b.id));
        Some(views)
    }

    fn all_agree_on(&self, slot: u16, owner: &Server) -> bool {
        let id = self.id(owner);
        let agrees = |node: &Node| {
            read_views(&node.server)
                .is_some_and(|views| views.iter().any(|view| view.id == id && view.serves(slot)))
        };
        self.running().all(agrees)
    }

    fn views(&self) -> Vec<NodeView> {
        let node = self.first_running();
        read_views(node).unwrap_or_else(|| panic!("{} does not answer", node.address()))
    }

    fn first_running(&self) -> &Server {
        &self.running().next().expect("no node of the cluster runs").server
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.server.is_running())
    }

    fn server(&self, id: &str) -> &Server {
        let node = self.nodes.iter().find(|node| node.id == id);
        &node.unwrap_or_else(|| panic!("no node of this cluster has the ID {id}")).server
    }

    fn id(&self, server: &Server) -> &str {
        let node = self.nodes.iter().find(|node| node.server.port() == server.port());
        &node.unwrap_or_else(|| panic!("{} is not a node of this cluster", server.address())).id
    }
}

/// Returns whether a node reports the cluster as up, and is in sync if it is a replica.
fn is_healthy(node: &Node, views: &[NodeView]) -> bool {
    let contains = |command: &[&str], words: &str| {
        node.server.try_command(command).is_ok_and(|reply| reply.to_string().contains(words))
    };
    let is_master = views.iter().any(|view| view.id == node.id && view.is_master);
    contains(&["CLUSTER", "INFO"], "cluster_state:ok")
        && (is_master || contains(&["INFO", "replication"], "master_link_status:up"))
}

fn read_views(server: &Server) -> Option<Vec<NodeView>> {
    Some(NodeView::all(&server.try_command(&["CLUSTER", "NODES"]).ok()?.to_string()))
}
