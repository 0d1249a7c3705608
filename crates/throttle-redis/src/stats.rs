//! Statistics of the connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// Statistics of the connections since the storage was created.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// The number of connections that are up now.
    pub connections: usize,
    /// The maximum number of connections that are open at once.
    pub max_connections: usize,
    /// The number of times that a broken connection was replaced.
    pub reconnects: u64,
    /// The number of times that new connections led to another server than before, as after a failover.
    pub failovers: u64,
    /// The number of times that the script was missing in Redis and was loaded again, as after a restart or a
    /// `SCRIPT FLUSH`.
    pub script_reloads: u64,
    /// The number of answers that did not arrive in time. If callers stopped waiting earlier, late answers to
    /// the PINGs that check their connection are counted instead.
    pub late_answers: u64,
    /// The number of requests that were not sent because the queue of the connection was full.
    pub overloads: u64,
    /// The number of times that a cluster node redirected a request to another node (MOVED or ASK).
    pub redirections: u64,
    /// The number of requests that were sent again because they were not carried out.
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
