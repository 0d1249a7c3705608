//! The master that sentinels report ([Redis Sentinel]).
//!
//! For each new connection the sentinels are queried for the master, and the server must confirm its role. A
//! failover is detected by the first of these events: the connection breaks, the old master answers `READONLY`,
//! or a sentinel publishes `+switch-master`.
//!
//! [Redis Sentinel]: https://redis.io/docs/latest/develop/reference/sentinel-clients/

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    background::{Background, Task},
    error::Error,
    options::{Address, Options},
    pool::{Pool, Source, connection_addr, with_login},
    redacted::without_login,
    retry::Backoff,
    stats::Counters,
    transport::{Encryption, subscribe},
};

/// The approximate time without a message from a sentinel after which the listener reconnects.
const SILENCE: Duration = Duration::from_secs(60);

/// The tasks that listen to the sentinels, which end when this is dropped.
pub(super) struct Listeners {
    _tasks: Vec<Task>,
}

pub(super) fn start(
    sentinels: &[Address],
    master: &str,
    options: &Arc<Options>,
    background: &Arc<Background>,
    counters: &Arc<Counters>,
) -> Result<(Arc<Pool>, Listeners), Error> {
    let clients = clients(sentinels, options)?;
    let source = Source::sentinel(clients.clone(), master, options);
    let server = format!("master {master}");
    let pool = Arc::new(Pool::start(server, source, options, background, counters, None));
    let listen = |client| {
        let listener = Arc::new(Listener {
            client,
            encryption: options.encryption.clone(),
            master: master.to_owned(),
            options: Arc::clone(options),
            silence: SILENCE,
            pool: Arc::downgrade(&pool),
        });
        background.spawn(move || {
            let listener = Arc::clone(&listener);
            async move { listener.listen().await }
        })
    };
    let listeners = Listeners { _tasks: clients.into_iter().map(listen).collect() };
    Ok((pool, listeners))
}

/// Returns the connection settings of the sentinels.
fn clients(sentinels: &[Address], options: &Options) -> Result<Vec<ConnectionInfo>, Error> {
    let settings = with_login(RedisConnectionInfo::default(), &options.sentinel_login);
    let client = |address| {
        let info = connection_addr(address, options).into_connection_info()?;
        Ok(info.set_redis_settings(settings.clone()))
    };
    sentinels.iter().map(client).collect::<Result<_, RedisError>>().map_err(Error::unusable)
}

struct Listener {
    client: ConnectionInfo,
    encryption: Option<Encryption>,
    master: String,
    options: Arc<Options>,
    silence: Duration,
    pool: Weak<Pool>,
}

impl Listener {
    /// Replaces the connections when the sentinel publishes a new master. Never returns.
    async fn listen(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let began = Instant::now();
            if let Err(error) = self.listen_once().await {
                let error = without_login(error, &self.options);
                tracing::debug!(
                    target: "ratethrottle::redis",
                    %error, "the subscription to a sentinel failed"
                );
            }
            if began.elapsed() > self.silence / 2 {
                backoff.reset();
            }
            sleep(backoff.next()).await;
        }
    }

    /// Listens until the connection to the sentinel ends, or is silent for too long.
    async fn listen_once(&self) -> Result<(), RedisError> {
        let subscribed = async {
            let mut pubsub = subscribe(&self.client, self.encryption.as_ref()).await?;
            pubsub.subscribe("+switch-master").await?;
            Ok::<_, RedisError>(pubsub)
        };
        let mut pubsub = timeout(self.options.connect_timeout, subscribed)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        let mut messages = pin!(pubsub.on_message());
        // A silent connection may be dead without an error, for example after a network partition.
        let silence = self.silence.mul_f64(0.75 + fastrand::f64() / 2.0);
        while let Ok(Some(message)) = timeout(silence, next(&mut messages)).await {
            let text: String = message.get_payload()?;
            let words: Vec<_> = text.split(' ').collect();
            if let [name, old_host, old_port, new_host, new_port] = words[..]
                && name == self.master
                && let Some(pool) = self.pool.upgrade()
            {
                pool.switch_master(
                    &format!("{old_host}:{old_port}"),
                    &format!("{new_host}:{new_port}"),
                );
            }
        }
        Ok(())
    }
}

/// Returns the next item of a stream.
async fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *stream).poll_next(cx)).await
}

#[cfg(test)]
mod tests {
    use throttle_testbed::{Proxy, Sentinels, Server};

    use super::*;
    use crate::{options::Endpoints, pool::address_of};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_listener_reconnects_to_a_silent_sentinel_and_receives_its_messages() {
        let servers = tokio::task::block_in_place(Sentinels::start);
        let (pool, _listeners) = connected(&servers).await;
        let server = tokio::task::block_in_place(Server::start);
        let proxy = Proxy::start(server.address()).await;
        let listener = Listener {
            client: format!("redis://{}", proxy.address()).into_connection_info().unwrap(),
            encryption: None,
            master: servers.master_name().to_owned(),
            options: Arc::new(Options::new(Endpoints::Cluster { nodes: Vec::new() })),
            silence: Duration::from_millis(100),
            pool: Arc::downgrade(&pool),
        };
        let listening = tokio::spawn(async move { listener.listen().await });
        let end = soon();
        while proxy.accepted() < 4 {
            assert!(Instant::now() < end, "{} connections", proxy.accepted());
            sleep(Duration::from_millis(10)).await;
        }
        assert!(proxy.open() < 4, "the silent connections are closed");
        let change = format!(
            "{} {} 127.0.0.1 1",
            servers.master_name(),
            pool.address().unwrap().replace(':', " ")
        );
        let mut publisher = redis::Client::open(server.url())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        let end = soon();
        while pool.is_connected() {
            assert!(Instant::now() < end, "the message is not received");
            let announce = redis::cmd("PUBLISH").arg("+switch-master").arg(&change).clone();
            // Repeatedly, because between two subscriptions there is no listener.
            let _: u64 = announce.query_async(&mut publisher).await.unwrap();
            tokio::task::yield_now().await;
        }
        listening.abort();
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3)
    }

    /// Returns a pool with all of its connections up, and its listeners.
    async fn connected(servers: &Sentinels) -> (Arc<Pool>, Listeners) {
        let options = Arc::new(Options::new(Endpoints::Cluster { nodes: Vec::new() }));
        let addresses: Vec<_> =
            servers.sentinel_addresses().iter().filter_map(|text| address_of(text)).collect();
        let (pool, listeners) =
            start(&addresses, servers.master_name(), &options, &Background::new(), &Arc::default())
                .unwrap();
        let end = soon();
        while pool.connections() < Pool::size(&options) {
            assert!(Instant::now() < end, "not all connections are up");
            sleep(Duration::from_millis(20)).await;
        }
        (pool, listeners)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_message_of_a_sentinel_counts_even_if_it_is_late() {
        let servers = tokio::task::block_in_place(Sentinels::start);
        let (pool, _listeners) = connected(&servers).await;
        let master = pool.address().unwrap();
        // A sentinel that lags announces an older failover, from the current master to a dead address.
        pool.switch_master(&master, "127.0.0.1:1");
        while pool.is_connected() {
            tokio::task::yield_now().await;
        }
        sleep(Duration::from_millis(300)).await;
        assert!(!pool.is_connected(), "the address is marked as demoted");
        pool.switch_master("127.0.0.1:1", &master);
        let end = soon();
        while !pool.is_connected() {
            assert!(Instant::now() < end, "the master is still marked as demoted");
            sleep(Duration::from_millis(20)).await;
        }
    }
}
