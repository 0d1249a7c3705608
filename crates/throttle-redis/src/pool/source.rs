//! Where a pool's connections lead.

use redis::{
    Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError,
    io::tcp::TcpSettings, sentinel::SentinelClient,
};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    error::Error,
    options::{Address, Login, Options},
    tls::pick_provider,
};

/// Within this time every sentinel hears of a failover, and the old master is made a replica.
const DEPOSED: Duration = Duration::from_secs(10);
/// A sentinel that has not answered for so long is not waited for: the next one is asked too.
const PATIENT: Duration = Duration::from_millis(50);

/// Makes a client of one sentinel, for one question: a connection that was kept might hang.
pub(crate) type Ask = Arc<dyn Fn() -> Result<SentinelClient, Error> + Send + Sync>;

/// Names the server that a connection is made to, anew for each.
pub(crate) enum Source {
    /// Always the same address; its name is resolved each time.
    Fixed(Client),
    /// The master that the sentinels name, once it says so itself.
    Sentinel {
        sentinels: Vec<Ask>,
        settings: RedisConnectionInfo,
        tcp: TcpSettings,
        deposed: Mutex<Option<(String, Instant)>>,
    },
}

impl Source {
    /// Makes the source of one address.
    pub(crate) fn fixed(address: &Address, options: &Options) -> Result<Self, Error> {
        Self::of(connection_addr(address, options)?, options)
    }

    /// Makes the source of a Unix socket.
    pub(crate) fn unix(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::of(ConnectionAddr::Unix(path.to_owned()), options)
    }

    fn of(address: ConnectionAddr, options: &Options) -> Result<Self, Error> {
        let info = address
            .into_connection_info()
            .map_err(Error::unusable)?
            .set_redis_settings(settings(options))
            .set_tcp_settings(tcp());
        Client::open(info).map(Self::Fixed).map_err(Error::unusable)
    }

    /// Makes the source that asks sentinels.
    pub(crate) fn sentinel(sentinels: Vec<Ask>, options: &Options) -> Self {
        let settings = settings(options);
        Self::Sentinel { sentinels, settings, tcp: tcp(), deposed: Mutex::default() }
    }

    /// Leads to no such address for a while, until it is reinstated.
    pub(super) fn depose(&self, address: &str) {
        if let Self::Sentinel { deposed, .. } = self {
            let now = Some((address.to_owned(), Instant::now()));
            *deposed.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }

    /// Leads to this address again: a sentinel says that it is master now.
    pub(super) fn reinstate(&self, address: &str) {
        if let Self::Sentinel { deposed, .. } = self {
            deposed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take_if(|(old, _)| old == address);
        }
    }

    /// Returns a client of the server as it is now.
    pub(super) async fn client(&self) -> Result<Client, RedisError> {
        match self {
            Self::Fixed(client) => Ok(client.clone()),
            Self::Sentinel { sentinels, settings, tcp, deposed } => {
                let is_deposed = |address: &str| {
                    let deposed = deposed.lock().unwrap_or_else(PoisonError::into_inner);
                    deposed
                        .as_ref()
                        .is_some_and(|(old, since)| old == address && since.elapsed() < DEPOSED)
                };
                let info = named(sentinels, is_deposed).await?.get_connection_info().clone();
                Client::open(
                    info.set_redis_settings(settings.clone()).set_tcp_settings(tcp.clone()),
                )
            }
        }
    }
}

/// Asks one sentinel after the other without waiting for one that hangs, and returns the first master that is
/// named and says so itself.
async fn named(sentinels: &[Ask], is_deposed: impl Fn(&str) -> bool) -> Result<Client, RedisError> {
    let mut asked = JoinSet::new();
    for (place, ask) in (0..).zip(sentinels.iter().cloned()) {
        asked.spawn(async move {
            sleep(PATIENT * place).await;
            let mut sentinel = ask().map_err(|error| std::io::Error::other(error.to_string()))?;
            sentinel.async_get_client().await
        });
    }
    let mut last: RedisError = std::io::Error::other("no sentinel could be asked").into();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(master)) => {
                let address = master.get_connection_info().addr().to_string();
                if !is_deposed(&address) {
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

/// Returns the address as the client wants it, with the certificates where TLS is wanted.
pub(crate) fn connection_addr(
    address: &Address,
    options: &Options,
) -> Result<ConnectionAddr, Error> {
    let Address { host, port } = address.clone();
    let Some(certificates) = &options.certificates else {
        return Ok(ConnectionAddr::Tcp(host, port));
    };
    pick_provider();
    let plain = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
    let info = plain.into_connection_info().map_err(Error::unusable)?;
    let client = Client::build_with_tls(info, certificates.clone());
    client.map(|client| client.get_connection_info().addr().clone()).map_err(Error::unusable)
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

/// A request is small and waits for its answer: it is sent at once.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use redis::sentinel::SentinelServerType;
    use throttle_testbed::Sentinels;

    use super::*;
    use crate::options::Place;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_deposed_master_is_not_connected_to_for_a_while_though_the_sentinels_name_it() {
        let sentinels = tokio::task::block_in_place(Sentinels::start);
        let ask = |address: String| -> Ask {
            let (url, name) = (format!("redis://{address}"), sentinels.master_name());
            Arc::new(move || {
                let kind = SentinelServerType::Master;
                SentinelClient::build(vec![url.clone()], name, None, kind).map_err(Error::unusable)
            })
        };
        let asked = sentinels.sentinel_addresses().into_iter().map(ask).collect();
        let source = Source::sentinel(asked, &Options::new(Place::Cluster { nodes: Vec::new() }));
        let master = async || {
            source.client().await.map(|client| client.get_connection_info().addr().to_string())
        };
        let address = master().await.unwrap();
        source.depose("127.0.0.1:1");
        assert_eq!(master().await.unwrap(), address, "another was deposed");
        source.depose(&address);
        assert!(master().await.unwrap_err().to_string().contains("no master any more"));
        source.reinstate("127.0.0.1:1");
        assert!(master().await.is_err(), "another was reinstated");
        source.reinstate(&address);
        assert_eq!(master().await.unwrap(), address, "it was put in its place again");
        let Source::Sentinel { deposed, .. } = &source else { unreachable!() };
        let long_ago = Instant::now().checked_sub(DEPOSED).unwrap();
        *deposed.lock().unwrap() = Some((address.clone(), long_ago));
        assert_eq!(master().await.unwrap(), address, "by now all sentinels know");
    }
}
