//! The move of a slot from one node to another.

use crate::{
    cluster::Cluster,
    server::{ADMIN, Server},
    wait::{self, DEFAULT_TIMEOUT},
};

const BATCH: &str = "100";
const TIMEOUT: &str = "5000";

/// A slot that is being moved. For a key that does not exist on the old node, that node answers `ASK`.
///
/// Without a call of [`finish`](Self::finish) the move stays incomplete.
#[derive(Debug)]
pub struct SlotMove<'a> {
    cluster: &'a Cluster,
    slot: String,
    from: &'a Server,
    to: &'a Server,
}

impl Cluster {
    /// Moves a slot and its keys to a master, and returns when all nodes know of it.
    ///
    /// # Panics
    ///
    /// If the master has the slot already, or the nodes do not agree after half a minute.
    pub fn move_slot(&self, slot: u16, to: &Server) {
        self.begin_move(slot, self.server(self.id(to))).finish();
    }

    /// Starts to move a slot, so that a test can get `ASK` answers before it finishes the move.
    ///
    /// # Panics
    ///
    /// If the master has the slot already.
    #[must_use]
    pub fn begin_move<'a>(&'a self, slot: u16, to: &'a Server) -> SlotMove<'a> {
        SlotMove::begin(self, slot, to)
    }
}

impl<'a> SlotMove<'a> {
    pub(crate) fn begin(cluster: &'a Cluster, slot: u16, to: &'a Server) -> Self {
        let from = cluster.node_of_slot(slot);
        assert_ne!(from.port(), to.port(), "slot {slot} is already on {}", to.address());
        let moving = Self { cluster, slot: slot.to_string(), from, to };
        moving.set(to, &["IMPORTING", cluster.id(from)]);
        moving.set(from, &["MIGRATING", cluster.id(to)]);
        moving
    }

    /// Returns the node that still owns the slot.
    #[must_use]
    pub fn from(&self) -> &'a Server {
        self.from
    }

    /// Returns the node that the slot moves to.
    #[must_use]
    pub fn to(&self) -> &'a Server {
        self.to
    }

    /// Moves the existing keys, and does not change the slot's owner.
    pub fn move_keys(&self) {
        loop {
            let keys = self.from.command(&["CLUSTER", "GETKEYSINSLOT", &self.slot, BATCH]);
            if keys.list().is_empty() {
                return;
            }
            let port = self.to.port().to_string();
            let target = ["MIGRATE", "127.0.0.1", &port, "", "0", TIMEOUT];
            let access = ["AUTH2", ADMIN, ADMIN, "KEYS"];
            let mut command: Vec<_> = target.iter().chain(&access).map(|s| s.as_bytes()).collect();
            command.extend(keys.list().iter().map(|key| key.bytes()));
            self.from.command(&command);
        }
    }

    /// Moves the remaining keys and the slot itself, and returns when all nodes know of it.
    ///
    /// # Panics
    ///
    /// If the running nodes do not agree after half a minute.
    pub fn finish(self) {
        self.move_keys();
        let owner = ["NODE", self.cluster.id(self.to)];
        // The new owner first, so that a crash between the two commands does not leave the slot without an owner.
        self.set(self.to, &owner);
        self.set(self.from, &owner);
        let slot: u16 = self.slot.parse().expect("it was a number");
        wait::until("all nodes to know a slot's owner", DEFAULT_TIMEOUT, || {
            self.cluster.all_agree_on(slot, self.to).then_some(())
        });
    }

    fn set(&self, node: &Server, what: &[&str; 2]) {
        node.command(&["CLUSTER", "SETSLOT", &self.slot, what[0], what[1]]);
    }
}
