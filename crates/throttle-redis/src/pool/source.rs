//! Where a pool's connections lead.

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

/// Within this time every sentinel hears of a failover, and the old master is made a replica.
const DEMOTED_FOR: Duration = Duration::from_secs(10);
/// A sentinel that has not answered for so long is not waited for: the next one is asked too.
const NEXT_SENTINEL_AFTER: Duration = Duration::from_millis(50);

/// Names the server that a connection is made to, anew for each.
pub(crate) enum Source {
    /// Always the same address; its name is resolved each time.
    Fixed(ConnectionInfo),
    /// The master that the sentinels name, once it says so itself.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        name: String,
        options: Arc<Options>,
        demoted: Mutex<Option<(String, Instant)>>,
    },
}

impl Source {
    /// Makes the source of one address.
    pub(crate) fn fixed(address: &Address, options: &Options) -> Result<Self, Error> {
        Self::of(connection_addr(address, options), options)
    }

    /// Makes the source of a Unix socket.
    pub(crate) fn unix(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::of(ConnectionAddr::Unix(path.to_owned()), options)
    }

    fn of(address: ConnectionAddr, options: &Options) -> Result<Self, Error> {
        connection_info(address, options).map(Self::Fixed).map_err(Error::unusable)
    }

    /// Makes the source that asks sentinels for a master by its name.
    pub(crate) fn sentinel(
        sentinels: Vec<ConnectionInfo>,
        name: &str,
        options: &Arc<Options>,
    ) -> Self {
        let (name, options) = (name.to_owned(), Arc::clone(options));
        Self::Sentinel { sentinels, name, options, demoted: Mutex::default() }
    }

    /// Leads to no such address for a while, until it is reinstated.
    pub(super) fn mark_demoted(&self, address: &str) {
        if let Self::Sentinel { demoted, .. } = self {
            let now = Some((address.to_owned(), Instant::now()));
            *demoted.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }

    /// Leads to this address again: a sentinel says that it is master now.
    pub(super) fn clear_demoted(&self, address: &str) {
        if let Self::Sentinel { demoted, .. } = self {
            demoted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take_if(|(old, _)| old == address);
        }
    }

    /// Returns the server as it is now.
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

/// Asks one sentinel after the other without waiting for one that hangs, and returns the first master that is
/// named and says so itself.
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
    let mut last: RedisError = std::io::Error::other("no sentinel could be asked").into();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(master)) => {
                let address = master.addr().to_string();
                if !is_demoted(&address) {
                    return Ok(master);
                }
                last = std::io::Error::other(format!("{address} is no master any more")).into();
            }
            Ok(Err(error)) => last = error,
            Err(_) => {} // it panicked, which it does not
        }
    }
    Err(last)
}

/// Returns how a server is connected to.
fn server(address: &Address, options: &Options) -> Result<ConnectionInfo, RedisError> {
    connection_info(connection_addr(address, options), options)
}

fn connection_info(
    address: ConnectionAddr,
    options: &Options,
) -> Result<ConnectionInfo, RedisError> {
    Ok(address.into_connection_info()?.set_redis_settings(settings(options)))
}

/// Returns the address as the client wants it, which says whether TLS is wanted.
pub(crate) fn connection_addr(address: &Address, options: &Options) -> ConnectionAddr {
    let Address { host, port } = address.clone();
    match &options.encryption {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}

/// Reads an address that Redis wrote: `host:port`, where the host may be IPv6 without brackets.
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

/// Adds a login.
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
    async fn a_deposed_master_is_not_connected_to_for_a_while_though_the_sentinels_name_it() {
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
        assert!(master().await.unwrap_err().to_string().contains("no master any more"));
        source.clear_demoted("127.0.0.1:1");
        assert!(master().await.is_err(), "another was reinstated");
        source.clear_demoted(&address);
        assert_eq!(master().await.unwrap(), address, "it was put in its endpoints again");
        let Source::Sentinel { demoted, .. } = &source else { unreachable!() };
        let long_ago = Instant::now().checked_sub(DEMOTED_FOR).unwrap();
        *demoted.lock().unwrap() = Some((address.clone(), long_ago));
        assert_eq!(master().await.unwrap(), address, "by now all sentinels know");
    }
}
