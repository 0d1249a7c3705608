//! The builder of a storage, from an address, a client or a connection.

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
    /// Query parameters set options, such as `?max_connections=2&prefix=app:`. The guide lists them.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the address is invalid, Redis cannot be reached, or the login fails.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Returns a builder for an address in the format of [`RedisStorage::connect`].
    pub fn builder(url: &str) -> RedisStorageBuilder {
        RedisStorageBuilder { options: url::parse(url) }
    }

    /// Returns a builder for the addresses of sentinels (`host:port`) and the name of their master.
    pub fn sentinel<S: AsRef<str>>(
        sentinels: impl IntoIterator<Item = S>,
        master: &str,
    ) -> RedisStorageBuilder {
        RedisStorageBuilder::of_sentinel(sentinels, master)
    }

    /// Returns a builder for a cluster. A few of its nodes are enough: the others are discovered.
    ///
    /// The login and the options of the first address apply to all nodes.
    pub fn cluster<S: AsRef<str>>(nodes: impl IntoIterator<Item = S>) -> RedisStorageBuilder {
        RedisStorageBuilder::of_cluster(nodes)
    }

    /// Connects with the address, login and database of a client, and with the default options.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`RedisStorage::connect`].
    pub async fn from_client(client: &redis::Client) -> Result<Self, Error> {
        RedisStorageBuilder::of_client(client).connect().await
    }

    /// Creates a storage on an existing connection, with keys that start with `key_prefix`.
    ///
    /// The storage does not reconnect: a [`redis::aio::MultiplexedConnection`] that breaks stays broken. A
    /// connection that sends failed commands again, such as a cluster connection, may charge twice; the
    /// connections of this crate never do. `clear` needs a connection to a single server.
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidOption`] if the prefix is empty, too long, or contains braces.
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

/// A builder of a [`RedisStorage`].
///
/// ```
/// use std::time::Duration;
/// # mod ratethrottle { pub use throttle_redis::{Error, RedisStorage}; pub mod redis { pub use super::*; } }
/// use ratethrottle::{RedisStorage, redis::Error};
///
/// # async fn example() -> Result<(), Error> {
/// let storage = RedisStorage::builder("redis://127.0.0.1:6379/0")
///     .max_connections(2)
///     .connect_timeout(Duration::from_secs(5))
///     .response_timeout(Duration::from_secs(5))
///     .key_prefix("myapp:")
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `connect` is called"]
pub struct RedisStorageBuilder {
    options: Result<Options, Error>,
}

impl RedisStorageBuilder {
    fn of_sentinel<S: AsRef<str>>(sentinels: impl IntoIterator<Item = S>, master: &str) -> Self {
        let sentinels = sentinels.into_iter().map(|text| address(text.as_ref(), 26379)).collect();
        let endpoints = |sentinels| Endpoints::Sentinel { sentinels, master: master.to_owned() };
        Self { options: Result::map(sentinels, |all| Options::new(endpoints(all))) }
    }

    /// Creates the builder of a cluster. The first address may have a login and parameters; those of the other
    /// addresses are ignored.
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
                            let help = "use redis:// addresses for a cluster".to_owned();
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
            None => Options::new(endpoints), // `check` reports the missing nodes
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
                let help = "create the storage from an address".to_owned();
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

    /// Sets the user; by default the user `default` of Redis.
    pub fn username(self, username: impl Into<String>) -> Self {
        self.with(|options| options.login.username = Some(username.into()))
    }

    /// Sets the password; by default none.
    pub fn password(self, password: impl Into<String>) -> Self {
        self.with(|options| options.login.password = Some(password.into()))
    }

    /// Sets the user for the sentinels; by default none.
    pub fn sentinel_username(self, username: impl Into<String>) -> Self {
        self.with(|options| options.sentinel_login.username = Some(username.into()))
    }

    /// Sets the password for the sentinels; by default none. The password for Redis is not sent to them.
    pub fn sentinel_password(self, password: impl Into<String>) -> Self {
        self.with(|options| options.sentinel_login.password = Some(password.into()))
    }

    /// Sets the number of the database; default 0. A cluster has only database 0.
    pub fn database(self, database: i64) -> Self {
        self.with(|options| options.database = database)
    }

    /// Sets the name of the connections in `CLIENT LIST`: printable ASCII without spaces. By default they have
    /// no name.
    pub fn client_name(self, name: impl Into<String>) -> Self {
        self.with(|options| options.client_name = Some(name.into()))
    }

    /// Selects RESP3 (`true`, the default) or RESP2.
    ///
    /// With either protocol, a connection that the server closes is detected at once.
    pub fn resp3(self, resp3: bool) -> Self {
        self.with(|options| options.resp3 = resp3)
    }

    /// Sets the maximum number of connections to a server (in a cluster: to each node), from 1 to 1000; default 4.
    ///
    /// At most four connections are opened, even if more are allowed. Requests share them and are pipelined,
    /// so a few connections suffice for any load.
    pub fn max_connections(self, most: usize) -> Self {
        self.with(|options| options.max_connections = most)
    }

    /// Sets the timeout for a new connection, TLS and login included; default 2 s.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.connect_timeout = timeout)
    }

    /// Sets the timeout for a request, retries included; default 500 ms.
    ///
    /// A request that times out is not sent again: it may have been carried out.
    pub fn response_timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.response_timeout = timeout)
    }

    /// Sets how often a request is sent again; default 10.
    ///
    /// Only requests that were certainly not carried out are sent again: the server is a replica, is loading
    /// its data, or does not have the script, or the slot moved. The wait between two attempts doubles from
    /// 10 ms to 200 ms, with jitter. The response timeout includes all attempts.
    pub fn retries(self, retries: u32) -> Self {
        self.with(|options| options.retries = retries)
    }

    /// Sets the interval of health checks; default 30 s.
    ///
    /// A health check sends a PING on each connection in the background, and replaces connections that do not
    /// answer.
    pub fn health_check_interval(self, interval: Duration) -> Self {
        self.with(|options| options.health_check_interval = interval)
    }

    /// Sets the lease of a permit (see [`Limiter::concurrency`]), from 1 s to an hour; default 10 s.
    ///
    /// When a server process dies, the permits that it held are free after this time. A running process renews
    /// its permits in the background, when between a quarter and half of the lease is over.
    ///
    /// [`Limiter::concurrency`]: throttle_core::Limiter::concurrency
    pub fn permit_lease(self, lease: Duration) -> Self {
        self.with(|options| options.permit_lease = lease)
    }

    /// Sets the prefix of every key: 1 to 128 bytes without braces; default `ratethrottle:`.
    ///
    /// Storages with the same prefix share their limits. `clear` removes all keys with the prefix.
    pub fn key_prefix(self, prefix: impl Into<String>) -> Self {
        self.with(|options| options.key_prefix = prefix.into())
    }

    /// Replaces identities in key names by their HMAC-SHA-256 (RFC 2104; the first 128 bits).
    ///
    /// Client addresses then cannot be read from Redis. By default, identities are stored in plain text. The secret has
    /// at least 16 bytes. Servers that share limits need the same secret.
    pub fn hash_keys(self, secret: impl Into<Vec<u8>>) -> Self {
        self.with(|options| options.key_secret = Some(Secret(secret.into())))
    }

    /// Enables TLS with these files, also for connections to sentinels.
    pub fn tls(self, tls: Tls) -> Self {
        self.with(|options| options.tls = Some(tls))
    }

    /// Connects, and returns the storage when Redis has answered.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the address or an option is invalid, and [`Error::Connect`] if Redis cannot be reached
    /// within the connect timeout, or the login fails.
    pub async fn connect(self) -> Result<RedisStorage, Error> {
        let (options, storage) = self.start()?;
        storage.client.topology.wait_for_connection(options.connect_timeout).await?;
        Ok(storage)
    }

    /// Returns the storage at once, and connects in the background until it succeeds.
    ///
    /// Use it for services that must be able to start while Redis is down.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] if the address or an option is invalid, or if this is called outside a tokio runtime.
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
