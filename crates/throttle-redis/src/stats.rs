//! What happened to the connections, as numbers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// Counts what happened since the storage was made.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// How many connections are up now.
    pub connections: usize,
    /// How many connections are kept up at most.
    pub max_connections: usize,
    /// How often a connection was made again after one broke.
    pub reconnects: u64,
    /// How often the connections came to lead to another server: a failover, or a slot that moved.
    pub failovers: u64,
    /// How often Redis had to be given the script again: it was restarted, or its scripts flushed.
    pub script_reloads: u64,
    /// How many answers did not come in time; where callers did not wait for as long, those to the PINGs that
    /// were sent for them.
    pub late_answers: u64,
    /// How many requests were not sent because thousands waited for the connection already.
    pub overloads: u64,
    /// How often a node of a cluster named another one (MOVED or ASK).
    pub redirections: u64,
    /// How many requests were sent again after an answer that they were not carried out.
    pub retries: u64,
}

#[derive(Default, Debug)]
pub(crate) struct Counters {
    pub(crate) reconnects: AtomicU64,
    pub(crate) failovers: AtomicU64,
    pub(crate) script_reloads: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) overloads: AtomicU64,
    pub(crate) redirections: AtomicU64,
    pub(crate) retries: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn stats(&self, connections: usize, max_connections: usize) -> Stats {
        Stats {
            connections,
            max_connections,
            reconnects: self.reconnects.load(Relaxed),
            failovers: self.failovers.load(Relaxed),
            script_reloads: self.script_reloads.load(Relaxed),
            late_answers: self.late.load(Relaxed),
            overloads: self.overloads.load(Relaxed),
            redirections: self.redirections.load(Relaxed),
            retries: self.retries.load(Relaxed),
        }
    }
}
