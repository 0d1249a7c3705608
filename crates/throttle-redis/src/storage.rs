//! The storage type.

use std::{fmt, sync::Arc};

use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, ConcurrencyStorage, ListStorage, Outcome, Refund, Reply,
    Scope, complete_on_drop::Work,
};

use crate::{
    calls,
    client::Client,
    concurrency::RedisConcurrency,
    lists::Lists,
    options::Options,
    script::{MAX_LOG_LIMIT, Op},
    stats::Stats,
    topology::Topology,
};

/// A storage that keeps the states of rate limits in Redis, so that several servers share them.
///
/// A check is one call of one script, regardless of the number of rules: Redis decides atomically, by its
/// own clock. Clones share the connections.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_redis::*; }
/// use ratethrottle::{Limiter, RedisStorage, Rule};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = Limiter::new(RedisStorage::connect("redis://127.0.0.1:6379/0").await?);
/// limiter.add_rule(Rule::per_minute("api", 100))?;
/// assert!(limiter.check("user:42", "api").await?.is_allowed());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStorage {
    pub(crate) client: Arc<Client>,
    concurrency: RedisConcurrency,
}

impl RedisStorage {
    pub(crate) fn new(topology: Topology, options: &Options) -> Self {
        let client = Arc::new(Client::new(topology, options));
        let concurrency = RedisConcurrency::new(Arc::clone(&client), options.permit_lease);
        Self { client, concurrency }
    }

    /// Returns statistics of the connections.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.client.topology.stats()
    }
}

impl AtomicStorage for RedisStorage {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        calls::decide(&self.client, request, Op::Acquire)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        calls::decide(&self.client, request, Op::Peek)
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        calls::refund(&self.client, refunds, clock)
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        let charges = request.charges().iter();
        let keys: Vec<_> = charges.map(|charge| self.client.keys.of_charge(charge)).collect();
        let client = Arc::clone(&self.client);
        Reply::pending(async move {
            let mut was_stored = false;
            for key in &keys {
                was_stored |= client.unlink(key).await?;
            }
            Ok(was_stored)
        })
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        Some(Arc::new(Lists::new(&self.client)))
    }

    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        Some(Arc::new(self.concurrency.clone()))
    }

    fn max_log_limit(&self) -> u64 {
        MAX_LOG_LIMIT
    }

    fn shutdown(&self) -> Reply<()> {
        Reply::pending(self.concurrency.clone().shutdown())
    }

    fn spawn(&self, work: Work) -> Result<(), Work> {
        self.client.topology.background.spawn_once(work)
    }

    fn kind(&self) -> &str {
        "redis"
    }
}

impl fmt::Debug for RedisStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorage")
            .field("topology", &self.client.topology)
            .field("keys", &self.client.keys)
            .finish()
    }
}
