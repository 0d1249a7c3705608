//! How a storage is made: from an address, a client or a connection, with its options.

use std::{fmt, sync::Arc, time::Duration};

use redis::ConnectionAddr;

use crate::{
    error::Error,
    options::{Address, Endpoints, Options, Secret},
    storage::RedisStorage,
    tls::Tls,
    topology::{SharedConnection, Topology},
    transport::Encryption,
    url::{self, address},
};

impl RedisStorage {
    /// Connects to an address: `redis://`, `rediss://`, `redis+unix:///path`, `redis+sentinel://host,host/master`,
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
        RedisStorageBuilder { options: url::parse(url) }
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
    pub async fn from_client(client: &redis::Client) -> Result<Self, Error> {
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
        let mut options = Options::new(Endpoints::Standalone(nowhere));
        options.key_prefix = key_prefix.to_owned();
        options.check()?;
        let options = Arc::new(options);
        Ok(Self::new(Topology::external(connection, &options), &options))
    }
}

/// Makes a [`RedisStorage`] with options.
///
/// ```
/// use std::time::Duration;
/// # mod ratethrottle { pub use throttle_redis::{Error, RedisStorage}; pub mod redis { pub use super::*; } }
/// use ratethrottle::{RedisStorage, redis::Error};
///
/// # async fn example() -> Result<(), Error> {
/// let storage = RedisStorage::builder("redis://127.0.0.1:6379/0")
///     .max_connections(50)
///     .connect_timeout(Duration::from_secs(5))
///     .response_timeout(Duration::from_secs(5))
///     .key_prefix("myapp:")
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder connects to nothing before `connect` is called"]
pub struct RedisStorageBuilder {
    options: Result<Options, Error>,
}

impl RedisStorageBuilder {
    fn of_sentinel<S: AsRef<str>>(sentinels: impl IntoIterator<Item = S>, master: &str) -> Self {
        let sentinels = sentinels.into_iter().map(|text| address(text.as_ref(), 26379)).collect();
        let endpoints = |sentinels| Endpoints::Sentinel { sentinels, master: master.to_owned() };
        Self { options: Result::map(sentinels, |all| Options::new(endpoints(all))) }
    }

    /// The first address may bring a login and parameters; of the others only the hosts count.
    fn of_cluster<S: AsRef<str>>(nodes: impl IntoIterator<Item = S>) -> Self {
        let mut all: Option<Options> = None;
        let mut addresses = Vec::new();
        for node in nodes {
            let node = node.as_ref();
            let url =
                if node.contains("://") { node.to_owned() } else { format!("redis://{node}") };
            match url::parse(&url) {
                Err(error) => return Self { options: Err(error) },
                Ok(mut options) => {
                    match &mut options.endpoints {
                        Endpoints::Standalone(address) => addresses.push(address.clone()),
                        Endpoints::Cluster { nodes } => addresses.append(nodes),
                        Endpoints::Sentinel { .. } | Endpoints::Unix(_) => {
                            let what =
                                "it is an address of sentinels or of a Unix socket".to_owned();
                            let help = "a cluster is made of redis:// addresses".to_owned();
                            return Self { options: Err(Error::InvalidUrl { what, help }) };
                        }
                    }
                    all.get_or_insert(options);
                }
            }
        }
        let endpoints = Endpoints::Cluster { nodes: addresses };
        let options = match all {
            Some(options) => Options { endpoints, ..options },
            None => Options::new(endpoints), // `check` says that there is no node
        };
        Self { options: Ok(options) }
    }

    fn of_client(client: &redis::Client) -> Self {
        let info = client.get_connection_info();
        let at = |host: &str, port| Endpoints::Standalone(Address { host: host.to_owned(), port });
        let (endpoints, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (at(host, *port), None),
            ConnectionAddr::TcpTls { host, port, .. } => (at(host, *port), Some(Tls::new())),
            ConnectionAddr::Unix(path) => (Endpoints::Unix(path.clone()), None),
            _ => {
                let what = "the client's address is neither a host and port nor a Unix socket";
                let help = "make the storage from an address".to_owned();
                return Self { options: Err(Error::InvalidUrl { what: what.to_owned(), help }) };
            }
        };
        let mut options = Options::new(endpoints);
        let settings = info.redis_settings();
        options.tls = tls;
        options.login.username = settings.username().map(str::to_owned);
        options.login.password = settings.password().map(str::to_owned);
        options.database = settings.db();
        Self { options: Ok(options) }
    }

    /// Logs in as this user; default none, which is Redis' user `default`.
    pub fn username(self, username: impl Into<String>) -> Self {
        self.with(|options| options.login.username = Some(username.into()))
    }

    /// Logs in by this password; default none.
    pub fn password(self, password: impl Into<String>) -> Self {
        self.with(|options| options.login.password = Some(password.into()))
    }

    /// Logs in at the sentinels as this user; default none.
    pub fn sentinel_username(self, username: impl Into<String>) -> Self {
        self.with(|options| options.sentinel_login.username = Some(username.into()))
    }

    /// Logs in at the sentinels by this password; default none: the one for Redis is not tried there.
    pub fn sentinel_password(self, password: impl Into<String>) -> Self {
        self.with(|options| options.sentinel_login.password = Some(password.into()))
    }

    /// Picks the database by its number; default 0. A cluster has no other.
    pub fn database(self, database: i64) -> Self {
        self.with(|options| options.database = database)
    }

    /// Names the connections, as `CLIENT LIST` shows them: printable ASCII without spaces; default none.
    pub fn client_name(self, name: impl Into<String>) -> Self {
        self.with(|options| options.client_name = Some(name.into()))
    }

    /// Speaks RESP3, or RESP2 when `false`; default `true`.
    ///
    /// Either way a connection that the server closes is noticed at once.
    pub fn resp3(self, resp3: bool) -> Self {
        self.with(|options| options.resp3 = resp3)
    }

    /// Bounds the connections to a server (in a cluster: to each node), from 1 to 1000; default 4.
    ///
    /// Connections are shared by all requests, each of which is sent without waiting for the answers of
    /// others, so that few carry any load: no more than four are opened, however many are allowed.
    pub fn max_connections(self, most: usize) -> Self {
        self.with(|options| options.max_connections = most)
    }

    /// Bounds how long making a connection may take, TLS and login included; default 2 s.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.connect_timeout = timeout)
    }

    /// Bounds how long a request may take, retries included; default 500 ms.
    ///
    /// A request whose answer is late is not sent again: it may have been carried out.
    pub fn response_timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.response_timeout = timeout)
    }

    /// Bounds how often a request is sent again that was not carried out for certain (the server is a
    /// replica, is loading, or lacks the script; the slot moved); default 10. Between two attempts it
    /// waits some milliseconds, twice as long each time up to 200 ms, with jitter; the response timeout
    /// bounds it all.
    pub fn retries(self, retries: u32) -> Self {
        self.with(|options| options.retries = retries)
    }

    /// Sends a PING on each connection this often, in the background, and replaces those that do not
    /// answer; default 30 s.
    pub fn health_check_interval(self, interval: Duration) -> Self {
        self.with(|options| options.health_check_interval = interval)
    }

    /// Frees the places of a server that died (see [`Limiter::concurrency`]) after so long, from 1 s to an
    /// hour; default 10 s.
    ///
    /// What a living server holds is renewed in the background, after between a quarter and half of it.
    ///
    /// [`Limiter::concurrency`]: throttle_core::Limiter::concurrency
    pub fn permit_lease(self, lease: Duration) -> Self {
        self.with(|options| options.permit_lease = lease)
    }

    /// Begins every key with this: 1 to 128 bytes without braces; default `ratethrottle:`.
    ///
    /// Storages that are to share limits have the same one, and `clear` removes what begins with it.
    pub fn key_prefix(self, prefix: impl Into<String>) -> Self {
        self.with(|options| options.key_prefix = prefix.into())
    }

    /// Replaces identities in the names of keys by their HMAC-SHA-256 (RFC 2104; its first 128 bits), so
    /// that who reads Redis does not read client addresses; default: they are written as they are.
    ///
    /// The secret has 16 bytes or more; servers that are to share limits have the same one.
    pub fn hash_keys(self, secret: impl Into<Vec<u8>>) -> Self {
        self.with(|options| options.key_secret = Some(Secret(secret.into())))
    }

    /// Uses TLS, with these files; for sentinels too.
    pub fn tls(self, tls: Tls) -> Self {
        self.with(|options| options.tls = Some(tls))
    }

    /// Connects, and returns the storage when Redis has answered.
    ///
    /// # Errors
    ///
    /// [`Error`] when the address or an option is wrong, and [`Error::Connect`] when Redis cannot be
    /// reached or does not let us in within the time for connecting.
    pub async fn connect(self) -> Result<RedisStorage, Error> {
        let (options, storage) = self.start()?;
        storage.client.topology.wait_for_connection(options.connect_timeout).await?;
        Ok(storage)
    }

    /// Returns the storage at once, and connects in the background, for as long as it takes: for
    /// services that must come up also while Redis is down.
    ///
    /// # Errors
    ///
    /// [`Error`] when the address or an option is wrong, or there is no tokio runtime.
    pub fn connect_in_background(self) -> Result<RedisStorage, Error> {
        self.start().map(|(_, storage)| storage)
    }

    fn start(self) -> Result<(Arc<Options>, RedisStorage), Error> {
        let mut options = self.options?;
        options.check()?;
        let certificates = options.tls.as_ref().map(Tls::certificates).transpose()?;
        let encryption = certificates.as_ref().map(Encryption::new).transpose();
        options.encryption = encryption.map_err(|error| Error::unusable(error.into()))?;
        let options = Arc::new(options);
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::NoRuntime);
        }
        let topology = Topology::start(&options)?;
        Ok((Arc::clone(&options), RedisStorage::new(topology, &options)))
    }

    fn with(mut self, set: impl FnOnce(&mut Options)) -> Self {
        if let Ok(options) = &mut self.options {
            set(options);
        }
        self
    }
}

impl fmt::Debug for RedisStorageBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorageBuilder").field("options", &self.options).finish()
    }
}
