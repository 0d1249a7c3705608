//! The state that a proxy and its connections share.

use std::{
    sync::{Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use tokio::sync::watch;

use crate::{port::Port, proxy::faults::Faults, random::Random};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) port: Port,
    pub(crate) target: String,
    pub(crate) faults: watch::Sender<Faults>,
    /// The number of times that all connections were reset.
    pub(crate) resets: watch::Sender<usize>,
    pub(crate) accepted: AtomicUsize,
    pub(crate) open: watch::Sender<usize>,
    pub(crate) random: Mutex<Random>,
}

impl Shared {
    /// Draws the latency of a chunk.
    pub(crate) fn delay(&self) -> Duration {
        let (latency, jitter) = {
            let faults = self.faults.borrow();
            (faults.latency, faults.jitter)
        };
        let most = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX - 1);
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        latency + Duration::from_micros(random.below(most + 1))
    }
}
