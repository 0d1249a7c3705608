//! The master that sentinels name ([Redis Sentinel]).
//!
//! Each connection asks the sentinels where the master is, and is made only to a server that says that
//! it is one. That the master changed is learnt from whatever comes first: the connection breaks, the
//! old master answers READONLY, or a sentinel says `+switch-master`.
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

/// A sentinel that announces nothing for about so long is listened to anew.
const SILENCE: Duration = Duration::from_secs(60);

/// The tasks that listen to the sentinels; they end with it.
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

/// Returns how the sentinels are connected to.
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
    /// Has the connections made anew when the sentinel says that the master changed; never ends by
    /// itself.
    async fn listen(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let began = Instant::now();
            if let Err(error) = self.listen_once().await {
                let error = without_login(error, &self.options);
                tracing::debug!(%error, "a sentinel cannot be listened to");
            }
            if began.elapsed() > self.silence / 2 {
                backoff.reset();
            }
            sleep(backoff.next()).await;
        }
    }

    /// Returns when the connection to the sentinel ends, or may have.
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
        // A connection on which nothing comes may be gone without a word.
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
    async fn who_announces_nothing_is_listened_to_anew_and_then_heard() {
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
        assert!(proxy.open() < 4, "those that were silent are left");
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
            assert!(Instant::now() < end, "nobody hears");
            let announce = redis::cmd("PUBLISH").arg("+switch-master").arg(&change).clone();
            // Again and again, as between two subscriptions nobody hears it.
            let _: u64 = announce.query_async(&mut publisher).await.unwrap();
            tokio::task::yield_now().await;
        }
        listening.abort();
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3)
    }

    /// Returns a pool all of whose connections are there, and what listens for it.
    async fn connected(servers: &Sentinels) -> (Arc<Pool>, Listeners) {
        let options = Arc::new(Options::new(Endpoints::Cluster { nodes: Vec::new() }));
        let addresses: Vec<_> =
            servers.sentinel_addresses().iter().filter_map(|text| address_of(text)).collect();
        let (pool, listeners) =
            start(&addresses, servers.master_name(), &options, &Background::new(), &Arc::default())
                .unwrap();
        let end = soon();
        while pool.connections() < Pool::size(&options) {
            assert!(Instant::now() < end, "not all are connected");
            sleep(Duration::from_millis(20)).await;
        }
        (pool, listeners)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_sentinel_announces_last_counts_though_it_came_late() {
        let servers = tokio::task::block_in_place(Sentinels::start);
        let (pool, _listeners) = connected(&servers).await;
        let master = pool.address().unwrap();
        // An older change, announced by one that lags: the master is left for nobody.
        pool.switch_master(&master, "127.0.0.1:1");
        while pool.is_connected() {
            tokio::task::yield_now().await;
        }
        sleep(Duration::from_millis(300)).await;
        assert!(!pool.is_connected(), "it is master no more, as far as is known");
        pool.switch_master("127.0.0.1:1", &master);
        let end = soon();
        while !pool.is_connected() {
            assert!(Instant::now() < end, "the master is shunned");
            sleep(Duration::from_millis(20)).await;
        }
    }
}
