//! The source of a pool: the server to connect to.

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    RedisError,
};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use super::discovery::discover_master;
use crate::{
    error::Error,
    options::{Address, Login, Options},
};

/// The time for which a demoted master is not used. During this time every sentinel learns of the failover, and
/// the old master becomes a replica.
const DEMOTED_FOR: Duration = Duration::from_secs(10);
/// The time after which the next sentinel is also queried, if none has answered yet.
const NEXT_SENTINEL_AFTER: Duration = Duration::from_millis(50);

/// The source of a pool, which determines the server for each new connection.
pub(crate) enum Source {
    /// A fixed address, whose name is resolved for each connection.
    Fixed(ConnectionInfo),
    /// The master that the sentinels report, if the server confirms its role.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        name: String,
        options: Arc<Options>,
        demoted: Mutex<Option<(String, Instant)>>,
    },
}

impl Source {
    /// Creates the source of one address.
    pub(crate) fn fixed(address: &Address, options: &Options) -> Result<Self, Error> {
        Self::of(connection_addr(address, options), options)
    }

    /// Creates the source of a Unix socket.
    pub(crate) fn unix(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::of(ConnectionAddr::Unix(path.to_owned()), options)
    }

    fn of(address: ConnectionAddr, options: &Options) -> Result<Self, Error> {
        connection_info(address, options).map(Self::Fixed).map_err(Error::unusable)
    }

    /// Creates the source that queries sentinels for a master by its name.
    pub(crate) fn sentinel(
        sentinels: Vec<ConnectionInfo>,
        name: &str,
        options: &Arc<Options>,
    ) -> Self {
        let (name, options) = (name.to_owned(), Arc::clone(options));
        Self::Sentinel { sentinels, name, options, demoted: Mutex::default() }
    }

    /// Excludes an address for [`DEMOTED_FOR`], because a sentinel announced that it is no longer the master.
    pub(super) fn mark_demoted(&self, address: &str) {
        if let Self::Sentinel { demoted, .. } = self {
            let now = Some((address.to_owned(), Instant::now()));
            *demoted.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }

    /// Allows an address again, because a sentinel announced that it is the master.
    pub(super) fn clear_demoted(&self, address: &str) {
        if let Self::Sentinel { demoted, .. } = self {
            demoted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take_if(|(old, _)| old == address);
        }
    }

    /// Returns the connection settings of the current server.
    pub(super) async fn info(&self) -> Result<ConnectionInfo, RedisError> {
        match self {
            Self::Fixed(info) => Ok(info.clone()),
            Self::Sentinel { sentinels, name, options, demoted } => {
                let is_demoted = |address: &str| {
                    let demoted = demoted.lock().unwrap_or_else(PoisonError::into_inner);
                    demoted
                        .as_ref()
                        .is_some_and(|(old, since)| old == address && since.elapsed() < DEMOTED_FOR)
                };
                query_sentinels(sentinels, name, options, is_demoted).await
            }
        }
    }
}

/// Queries the sentinels, and returns the first master that confirms its role.
///
/// Each sentinel gets a short head start before the next one is queried, so that a hanging sentinel causes little
/// delay.
async fn query_sentinels(
    sentinels: &[ConnectionInfo],
    name: &str,
    options: &Arc<Options>,
    is_demoted: impl Fn(&str) -> bool,
) -> Result<ConnectionInfo, RedisError> {
    let mut asked = JoinSet::new();
    for (index, sentinel) in (0..).zip(sentinels.iter().cloned()) {
        let (name, options) = (name.to_owned(), Arc::clone(options));
        asked.spawn(async move {
            sleep(NEXT_SENTINEL_AFTER * index).await;
            let server = |address: &Address| server(address, &options);
            discover_master(&sentinel, &name, options.encryption.as_ref(), server).await
        });
    }
    let mut last: RedisError = std::io::Error::other("no sentinel could be queried").into();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(master)) => {
                let address = master.addr().to_string();
                if !is_demoted(&address) {
                    return Ok(master);
                }
                last = std::io::Error::other(format!("{address} is no longer the master")).into();
            }
            Ok(Err(error)) => last = error,
            Err(_) => {} // the task panicked, which it never does
        }
    }
    Err(last)
}

/// Returns the connection settings of a server.
fn server(address: &Address, options: &Options) -> Result<ConnectionInfo, RedisError> {
    connection_info(connection_addr(address, options), options)
}

fn connection_info(
    address: ConnectionAddr,
    options: &Options,
) -> Result<ConnectionInfo, RedisError> {
    Ok(address.into_connection_info()?.set_redis_settings(settings(options)))
}

/// Returns the address for the Redis client, which includes the use of TLS.
pub(crate) fn connection_addr(address: &Address, options: &Options) -> ConnectionAddr {
    let Address { host, port } = address.clone();
    match &options.encryption {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}

/// Parses an address in an answer of Redis: `host:port`, where an IPv6 host may have no brackets.
pub(crate) fn address_of(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(Address { host, port: port.parse().ok()? })
}

fn settings(options: &Options) -> RedisConnectionInfo {
    let protocol = if options.resp3 { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
    let settings = RedisConnectionInfo::default()
        .set_db(options.database)
        .set_protocol(protocol)
        .set_lib_name("ratethrottle", env!("CARGO_PKG_VERSION"));
    with_login(settings, &options.login)
}

/// Returns the settings with a login.
pub(crate) fn with_login(mut settings: RedisConnectionInfo, login: &Login) -> RedisConnectionInfo {
    if let Some(username) = &login.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password);
    }
    settings
}

#[cfg(test)]
mod tests {
    use throttle_testbed::Sentinels;

    use super::*;
    use crate::options::Endpoints;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_demoted_master_is_not_used_for_a_while_even_if_the_sentinels_report_it() {
        let sentinels = tokio::task::block_in_place(Sentinels::start);
        let options = Arc::new(Options::new(Endpoints::Cluster { nodes: Vec::new() }));
        let asked = sentinels.sentinel_addresses().into_iter();
        let asked =
            asked.map(|address| format!("redis://{address}").into_connection_info().unwrap());
        let source = Source::sentinel(asked.collect(), sentinels.master_name(), &options);
        let master = async || source.info().await.map(|info| info.addr().to_string());
        let address = master().await.unwrap();
        source.mark_demoted("127.0.0.1:1");
        assert_eq!(master().await.unwrap(), address, "another was demoted");
        source.mark_demoted(&address);
        assert!(master().await.unwrap_err().to_string().contains("no longer the master"));
        source.clear_demoted("127.0.0.1:1");
        assert!(master().await.is_err(), "another was allowed again");
        source.clear_demoted(&address);
        assert_eq!(master().await.unwrap(), address, "it was allowed again");
        let Source::Sentinel { demoted, .. } = &source else { unreachable!() };
        let long_ago = Instant::now().checked_sub(DEMOTED_FOR).unwrap();
        *demoted.lock().unwrap() = Some((address.clone(), long_ago));
        assert_eq!(master().await.unwrap(), address, "the exclusion has expired");
    }
}
