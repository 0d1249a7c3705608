//! The options of a storage, as plain data.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{error::Error, tls::Tls, transport::Encryption};

/// The addresses of Redis, by topology.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Endpoints {
    Standalone(Address),
    /// A socket in the file system.
    Unix(PathBuf),
    Sentinel {
        sentinels: Vec<Address>,
        master: String,
    },
    Cluster {
        nodes: Vec<Address>,
    },
}

/// A host and its port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A user and a password. The debug output shows neither.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.password.is_some() { "Login(…)" } else { "Login(none)" })
    }
}

/// Bytes that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// All options of a storage, which [`crate::RedisStorageBuilder`] documents.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) endpoints: Endpoints,
    pub(crate) login: Login,
    pub(crate) sentinel_login: Login,
    pub(crate) database: i64,
    pub(crate) client_name: Option<String>,
    pub(crate) resp3: bool,
    pub(crate) max_connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) health_check_interval: Duration,
    pub(crate) permit_lease: Duration,
    pub(crate) key_prefix: String,
    pub(crate) key_secret: Option<Secret>,
    pub(crate) tls: Option<Tls>,
    /// The TLS configuration from the files of `tls`, which are read when the storage is created.
    pub(crate) encryption: Option<Encryption>,
}

impl Options {
    pub(crate) const DEFAULT_PREFIX: &'static str = "ratethrottle:";

    pub(crate) fn new(endpoints: Endpoints) -> Self {
        Self {
            endpoints,
            login: Login::default(),
            sentinel_login: Login::default(),
            database: 0,
            client_name: None,
            resp3: true,
            max_connections: 4,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_millis(500),
            retries: 10,
            health_check_interval: Duration::from_secs(30),
            permit_lease: Duration::from_secs(10),
            key_prefix: Self::DEFAULT_PREFIX.to_owned(),
            key_secret: None,
            tls: None,
            encryption: None,
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidOption`] for the first option that is out of range.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong =
            |option, value: String, allowed| Err(Error::InvalidOption { option, value, allowed });
        if self.max_connections == 0 || self.max_connections > 1000 {
            return wrong("max_connections", self.max_connections.to_string(), "from 1 to 1000");
        }
        for (option, span) in
            [("connect_timeout", self.connect_timeout), ("response_timeout", self.response_timeout)]
        {
            if !(Duration::from_millis(1)..=Duration::from_secs(600)).contains(&span) {
                return wrong(option, format!("{span:?}"), "from 1 ms to 10 minutes");
            }
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(86_400))
            .contains(&self.health_check_interval)
        {
            let value = format!("{:?}", self.health_check_interval);
            return wrong("health_check_interval", value, "from 100 ms to a day");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&self.permit_lease) {
            return wrong(
                "permit_lease",
                format!("{:?}", self.permit_lease),
                "from 1 s to an hour",
            );
        }
        if self.retries > 100 {
            return wrong("retries", self.retries.to_string(), "from 0 to 100");
        }
        if self.key_prefix.is_empty() || self.key_prefix.len() > 128 {
            let allowed = "1 to 128 bytes: `clear` removes all keys that start with it";
            return wrong("key_prefix", format!("{} bytes", self.key_prefix.len()), allowed);
        }
        if self.key_prefix.contains(['{', '}']) {
            let allowed = "free of braces, which would put all keys into one slot of a cluster";
            return wrong("key_prefix", "a text with braces".to_owned(), allowed);
        }
        if self.key_secret.as_ref().is_some_and(|secret| secret.0.len() < 16) {
            return wrong("hash_keys", "a shorter secret".to_owned(), "at least 16 bytes");
        }
        if self.database < 0 {
            return wrong("database", self.database.to_string(), "0 or more");
        }
        if let Some(name) = &self.client_name
            && !name.bytes().all(|b| (0x21..=0x7e).contains(&b))
        {
            let allowed = "printable ASCII without spaces";
            return wrong("client_name", "a text with other characters".to_owned(), allowed);
        }
        match &self.endpoints {
            Endpoints::Unix(_) if self.tls.is_some() => {
                wrong("tls", "set".to_owned(), "unset for a Unix socket")
            }
            Endpoints::Cluster { .. } if self.database != 0 => {
                wrong("database", self.database.to_string(), "0, the only database of a cluster")
            }
            Endpoints::Sentinel { sentinels, .. } if sentinels.is_empty() => {
                wrong("sentinels", "empty".to_owned(), "the addresses of one or more sentinels")
            }
            Endpoints::Sentinel { master, .. } if master.is_empty() => {
                wrong("master", "empty".to_owned(), "the name of the master in the sentinels")
            }
            Endpoints::Cluster { nodes } if nodes.is_empty() => {
                wrong("nodes", "empty".to_owned(), "the addresses of one or more nodes")
            }
            _ => Ok(()),
        }
    }
}
