//! The storage itself.

use std::{fmt, sync::Arc};

use redis::Client;
use throttle_core::{
    AtomicStorage, ChargeRequest, Clock, ListStorage, Outcome, PlaceStorage, Refund, Reply, Scope,
};

use crate::{
    Error, Figures, RedisStorageBuilder, SharedConnection, calls,
    keys::Keys,
    lists::Lists,
    operations,
    options::{Address, Options, Place},
    places::{Held, Places},
    script::Op,
    topology::Topology,
};

/// Keeps limits in Redis, where any number of servers share them.
///
/// A check is one call of one script, however many rules it has: Redis decides in one step, by its own
/// clock. Clones share the connections.
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
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) topology: Topology,
    pub(crate) keys: Keys,
    /// Keeps requests in order whose limiter has a clock of its own: its times must reach Redis in the
    /// order in which they were read, or the clock would seem to step back.
    pub(crate) order: tokio::sync::Mutex<()>,
    /// The places of requests under way in this process.
    pub(crate) held: Held,
}

impl RedisStorage {
    /// Connects to an address: `redis://`, `rediss://`, `redis+sentinel://host,host/master`,
    /// `redis+cluster://host,host`, `rediss+sentinel://`, `rediss+cluster://`.
    ///
    /// Options can be given as parameters, such as `?max_connections=50&prefix=app:`; the guide lists
    /// them.
    ///
    /// # Errors
    ///
    /// [`Error`] when the address is wrong, or Redis cannot be reached or does not let us in.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Begins with an address, as [`RedisStorage::connect`] takes it, for more options.
    pub fn builder(url: &str) -> RedisStorageBuilder {
        RedisStorageBuilder::of_url(url)
    }

    /// Begins with the addresses of sentinels (`host:port`) and the name of their master.
    pub fn sentinel<S: AsRef<str>>(
        sentinels: impl IntoIterator<Item = S>,
        master: &str,
    ) -> RedisStorageBuilder {
        RedisStorageBuilder::of_sentinel(sentinels, master)
    }

    /// Begins with the addresses of some nodes of a cluster; the others are found through them.
    ///
    /// A login and options in the first address are for all.
    pub fn cluster<S: AsRef<str>>(nodes: impl IntoIterator<Item = S>) -> RedisStorageBuilder {
        RedisStorageBuilder::of_cluster(nodes)
    }

    /// Takes a client's address, login and database, and connects by them with the default options.
    ///
    /// # Errors
    ///
    /// As for [`RedisStorage::connect`].
    pub async fn from_client(client: &Client) -> Result<Self, Error> {
        RedisStorageBuilder::of_client(client).connect().await
    }

    /// Uses a connection that is there already, with keys that begin with `key_prefix`.
    ///
    /// What it does when it breaks is its own business: a [`redis::aio::MultiplexedConnection`] stays
    /// broken. A connection that repeats what failed, as the ones to clusters do, may charge twice; the
    /// connections that this crate makes do not. `clear` needs a connection to a single server.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] when the prefix is empty, too long, or has braces.
    pub fn from_connection(
        connection: impl SharedConnection,
        key_prefix: &str,
    ) -> Result<Self, Error> {
        let nowhere = Address { host: "given".to_owned(), port: 0 };
        let mut options = Options::new(Place::Standalone(nowhere));
        options.key_prefix = key_prefix.to_owned();
        options.check()?;
        let options = Arc::new(options);
        Ok(Self::of(Topology::given(connection, &options), &options))
    }

    pub(crate) fn of(topology: Topology, options: &Options) -> Self {
        let secret = options.key_secret.as_ref().map(|secret| &secret.0[..]);
        let keys = Keys::new(options.key_prefix.clone(), secret);
        let (order, held) = (tokio::sync::Mutex::default(), Held::new(options.place_lease));
        Self { inner: Arc::new(Inner { topology, keys, order, held }) }
    }

    /// Returns what happened to the connections so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.inner.topology.figures()
    }
}

impl AtomicStorage for RedisStorage {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        calls::decide(&self.inner, request, Op::Acquire)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        calls::decide(&self.inner, request, Op::Peek)
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        calls::refund(&self.inner, refunds, clock)
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        let charges = request.charges().iter();
        let keys: Vec<_> = charges.map(|charge| self.inner.keys.of_charge(charge)).collect();
        let inner = Arc::clone(&self.inner);
        Reply::pending(async move {
            for key in &keys {
                operations::unlink(&inner, key).await?;
            }
            Ok(())
        })
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        Some(Arc::new(Lists::new(&self.inner)))
    }

    fn places(&self) -> Option<Arc<dyn PlaceStorage>> {
        Some(Arc::new(Places::new(&self.inner)))
    }

    fn kind(&self) -> &str {
        "redis"
    }
}

impl fmt::Debug for RedisStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorage")
            .field("topology", &self.inner.topology)
            .field("keys", &self.inner.keys)
            .finish()
    }
}
