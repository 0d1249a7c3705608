//! A cluster of three masters, each with a replica.

mod builder;
mod slot_move;
mod view;

use std::time::Duration;

use self::view::{SLOTS, Seen, served};
pub use self::{builder::ClusterBuilder, slot_move::SlotMove};
use crate::{
    server::Server,
    wait::{self, PATIENCE},
};

/// Holds six nodes: three masters, then the replica of each, in the same order.
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
    /// Returns `127.0.0.1:port` of each node, the first masters first.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.servers().map(Server::address).collect()
    }

    /// Returns the URL of each node, the first masters first.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers().map(Server::url).collect()
    }

    /// Returns all nodes, the first masters first; to kill one, [`Server::kill`] it.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().map(|node| &node.server)
    }

    /// Returns who serves slots now, as the first running node sees it.
    ///
    /// # Panics
    ///
    /// If no node runs.
    #[must_use]
    pub fn masters(&self) -> Vec<&Server> {
        let seen = self.seen();
        let masters = seen.iter().filter(|node| node.is_master && node.serves_any());
        masters.map(|node| self.server(&node.id)).collect()
    }

    /// Returns the node that serves a slot, as the first running node sees it.
    ///
    /// # Panics
    ///
    /// If no node runs, or nobody serves the slot.
    #[must_use]
    pub fn node_of_slot(&self, slot: u16) -> &Server {
        let seen = self.seen();
        let owner = seen.iter().find(|node| node.serves(slot));
        self.server(&owner.unwrap_or_else(|| panic!("nobody serves slot {slot}")).id)
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

    /// Returns the running replica of a master, as the first running node sees it.
    ///
    /// # Panics
    ///
    /// If no node runs, or the master has no running replica.
    #[must_use]
    pub fn replica_of(&self, master: &Server) -> &Server {
        let (seen, id) = (self.seen(), self.id(master));
        let replicas = seen.iter().filter(|node| node.master.as_deref() == Some(id));
        replicas
            .map(|node| self.server(&node.id))
            .find(|server| server.is_running())
            .unwrap_or_else(|| panic!("{} has no running replica", master.address()))
    }

    /// Has a replica take the place of its healthy master, and returns when every node knows.
    ///
    /// # Panics
    ///
    /// If that takes more than half a minute.
    pub fn failover(&self, replica: &Server) {
        let id = self.id(replica);
        replica.command(&["CLUSTER", "FAILOVER"]);
        wait::until("a replica to take its master's place", PATIENCE, || {
            let knows = |node: &Node| {
                let seen = look(&node.server)?;
                seen.into_iter().find(|seen| seen.id == id && seen.serves_any())
            };
            self.running().all(|node| knows(node).is_some()).then_some(())
        });
        self.wait_until_ok(PATIENCE);
    }

    /// Waits until the cluster is well: all running nodes agree who they are and that they serve all
    /// slots, and the running replicas are in sync.
    ///
    /// # Panics
    ///
    /// If that is not so after `timeout`.
    pub fn wait_until_ok(&self, timeout: Duration) {
        wait::until("the cluster to be well", timeout, || {
            let mut views = self.running().map(|node| self.view_of_running(node));
            let first = views.next()??;
            let agreed = views.all(|view| view.as_ref() == Some(&first));
            let whole = served(&first) == SLOTS && !first.iter().any(|seen| seen.has_failed);
            let well = agreed && whole && self.running().all(|node| is_well(node, &first));
            well.then_some(())
        });
    }

    /// Returns what a node knows of those that run, in the order of their ids.
    fn view_of_running(&self, node: &Node) -> Option<Vec<Seen>> {
        let mut seen = look(&node.server)?;
        seen.retain(|seen| self.running().any(|node| node.id == seen.id));
        seen.sort_by(|a, b| a.id.cmp(&b.id));
        Some(seen)
    }

    fn all_agree_on(&self, slot: u16, owner: &Server) -> bool {
        let id = self.id(owner);
        let agrees = |node: &Node| {
            look(&node.server)
                .is_some_and(|seen| seen.iter().any(|seen| seen.id == id && seen.serves(slot)))
        };
        self.running().all(agrees)
    }

    fn seen(&self) -> Vec<Seen> {
        let node = self.first_running();
        look(node).unwrap_or_else(|| panic!("{} does not answer", node.address()))
    }

    fn first_running(&self) -> &Server {
        &self.running().next().expect("no node of the cluster runs").server
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.server.is_running())
    }

    fn server(&self, id: &str) -> &Server {
        let node = self.nodes.iter().find(|node| node.id == id);
        &node.unwrap_or_else(|| panic!("no node of this cluster has the id {id}")).server
    }

    fn id(&self, server: &Server) -> &str {
        let node = self.nodes.iter().find(|node| node.server.port() == server.port());
        &node.unwrap_or_else(|| panic!("{} is not of this cluster", server.address())).id
    }
}

/// Returns whether a node serves, and is in sync if it is a replica.
fn is_well(node: &Node, seen: &[Seen]) -> bool {
    let says = |command: &[&str], words: &str| {
        node.server.try_command(command).is_ok_and(|said| said.to_string().contains(words))
    };
    let is_master = seen.iter().any(|seen| seen.id == node.id && seen.is_master);
    says(&["CLUSTER", "INFO"], "cluster_state:ok")
        && (is_master || says(&["INFO", "replication"], "master_link_status:up"))
}

fn look(server: &Server) -> Option<Vec<Seen>> {
    Some(Seen::all(&server.try_command(&["CLUSTER", "NODES"]).ok()?.to_string()))
}
