//! A slot on its way from one node to another.

use crate::{
    cluster::Cluster,
    server::{ADMIN, Server},
    wait::{self, PATIENCE},
};

const BATCH: &str = "100";
const TIMEOUT: &str = "5000";

/// Holds a slot that has begun to move: for a key that is no longer there, its old node answers `ASK`.
///
/// Dropped without [`finish`](Self::finish), the slot stays halfway.
#[derive(Debug)]
pub struct SlotMove<'a> {
    cluster: &'a Cluster,
    slot: String,
    from: &'a Server,
    to: &'a Server,
}

impl Cluster {
    /// Moves a slot and its keys to a master, and returns when every node knows.
    ///
    /// # Panics
    ///
    /// If the slot is there already, or the nodes do not agree after half a minute.
    pub fn move_slot(&self, slot: u16, to: &Server) {
        self.begin_move(slot, self.server(self.id(to))).finish();
    }

    /// Begins to move a slot, so that a test sees `ASK` answered before it finishes the move.
    ///
    /// # Panics
    ///
    /// If the slot is there already.
    #[must_use]
    pub fn begin_move<'a>(&'a self, slot: u16, to: &'a Server) -> SlotMove<'a> {
        SlotMove::begin(self, slot, to)
    }
}

impl<'a> SlotMove<'a> {
    pub(crate) fn begin(cluster: &'a Cluster, slot: u16, to: &'a Server) -> Self {
        let from = cluster.node_of_slot(slot);
        assert_ne!(from.port(), to.port(), "slot {slot} is at {} already", to.address());
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

    /// Moves the keys that are there, and leaves the slot's owner as it is.
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

    /// Moves the keys that are left and the slot itself, and returns when every node knows.
    ///
    /// # Panics
    ///
    /// If a running node does not know after half a minute.
    pub fn finish(self) {
        self.move_keys();
        let owner = ["NODE", self.cluster.id(self.to)];
        // The new owner first: a crash between the two must not leave the slot without one.
        self.set(self.to, &owner);
        self.set(self.from, &owner);
        let slot: u16 = self.slot.parse().expect("it was a number");
        wait::until("all nodes to know a slot's owner", PATIENCE, || {
            self.cluster.all_agree_on(slot, self.to).then_some(())
        });
    }

    fn set(&self, node: &Server, what: &[&str; 2]) {
        node.command(&["CLUSTER", "SETSLOT", &self.slot, what[0], what[1]]);
    }
}
