//! Clients: a limiter with a manual clock and a unique key.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use throttle_core::{AskKind, Decisions, Key, Limiter, ManualClock, Micros, Rule, Storage};
use throttle_memory::MemoryStorage;
use tokio::runtime::{Builder, Runtime};

use crate::six::SixOperations;

/// A client with a unique key.
pub(crate) struct Client {
    pub(crate) limiter: Limiter,
    clock: ManualClock,
    key: String,
    runtime: Runtime,
}

/// The storages under test.
#[derive(Clone, Default)]
pub(crate) struct Storages {
    memory: MemoryStorage,
    six: SixOperations,
}

impl Storages {
    /// Returns a new client for each storage.
    pub(crate) fn clients(&self, rules: &[Rule]) -> [Client; 2] {
        [Client::new(self.memory.clone(), rules), Client::new(self.six.clone(), rules)]
    }
}

impl Client {
    fn new(storage: impl Storage, rules: &[Rule]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let clock = ManualClock::default();
        let limiter = Limiter::builder(storage).clock(clock.clone()).build();
        for rule in rules {
            limiter.add_rule(rule.clone()).unwrap();
        }
        let key = format!("client-{}", NEXT.fetch_add(1, Relaxed));
        Self { limiter, clock, key, runtime: Builder::new_current_thread().build().unwrap() }
    }

    pub(crate) fn go(&self, now: u64) {
        self.clock.set(Micros::new(now).to_system_time());
    }

    pub(crate) fn acquire(&self, rules: &[&str], cost: u64) -> Decisions {
        let reply =
            self.limiter.begin(&Key::from(&self.key), Some(rules), Some(cost), AskKind::Acquire);
        self.runtime.block_on(reply).unwrap()
    }

    pub(crate) fn peek(&self, rules: &[&str], cost: u64) -> Decisions {
        let reply =
            self.limiter.begin(&Key::from(&self.key), Some(rules), Some(cost), AskKind::Peek);
        self.runtime.block_on(reply).unwrap()
    }

    pub(crate) fn reset(&self, rule: &str) {
        self.runtime.block_on(self.limiter.reset(&self.key, rule)).unwrap();
    }

    pub(crate) fn refund(&self, decisions: &Decisions) {
        self.runtime.block_on(self.limiter.rollback(&self.key, decisions.all())).unwrap();
    }
}
