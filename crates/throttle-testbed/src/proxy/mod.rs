//! A proxy that injects faults between a client and a server.

mod connection;
mod faults;
mod shared;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{self, Instant},
};

pub use self::faults::{Connect, Faults};
use self::shared::Shared;
use crate::{port::Port, random::Random};

/// A proxy on its own port for any address, which ends when the handle is dropped.
///
/// It forwards bytes of any protocol, including TLS.
///
/// # Examples
///
/// ```
/// # async fn example() {
/// use std::time::Duration;
/// use throttle_testbed::{Faults, Proxy, Server};
///
/// let redis = Server::start();
/// let proxy = Proxy::start(redis.address()).await;
/// let url = format!("redis://{}", proxy.address());
/// proxy.set(Faults { latency: Duration::from_millis(30), ..Faults::default() }).await;
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    listening: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for `host:port`.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start(target: impl Into<String>) -> Self {
        let shared = Arc::new(Shared {
            port: Port::reserve(),
            target: target.into(),
            faults: watch::Sender::default(),
            resets: watch::Sender::default(),
            accepted: AtomicUsize::default(),
            open: watch::Sender::default(),
            random: Mutex::new(Random::new()),
        });
        let (listens, mut listening) = watch::channel(false);
        let task = tokio::spawn(listen(Arc::clone(&shared), listens));
        listening.wait_for(|listens| *listens).await.expect("the proxy can listen");
        Self { shared, listening, task }
    }

    /// Returns `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Returns the port of the proxy.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.shared.port.number()
    }

    /// Replaces the faults.
    ///
    /// # Panics
    ///
    /// If it cannot listen again.
    pub async fn set(&self, faults: Faults) {
        let (reset, listens) = (faults.reset, faults.connect != Connect::Refuse);
        self.shared.faults.send_replace(faults);
        let mut listening = self.listening.clone();
        listening.wait_for(|now| *now == listens).await.expect("the proxy can listen");
        if reset {
            self.reset_all();
        }
    }

    /// Removes all faults.
    pub async fn heal(&self) {
        self.set(Faults::default()).await;
    }

    /// Holds all answers back for a time, and returns at once.
    ///
    /// Requests are forwarded and carried out, and their answers arrive late.
    pub fn hold_answers(&self, time: Duration) {
        self.shared.faults.send_modify(|faults| faults.hold_answers = true);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            time::sleep(time).await;
            shared.faults.send_modify(|faults| faults.hold_answers = false);
        });
    }

    /// Resets all open connections.
    pub fn reset_all(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// Sets the faults one after the other, each for its time, and then removes all faults.
    pub async fn run(&self, script: impl IntoIterator<Item = (Duration, Faults)>) {
        for (time, faults) in script {
            self.set(faults).await;
            time::sleep(time).await;
        }
        self.heal().await;
    }

    /// Sets [random faults](Faults::random) for a time, and then removes all faults.
    ///
    /// The seed is printed, and reproduces the same faults.
    pub async fn run_random(&self, seed: u64, how_long: Duration) {
        eprintln!("proxy of {}: faults of seed {seed}", self.shared.target);
        let end = Instant::now() + how_long;
        self.run(Faults::random(seed).take_while(|_| Instant::now() < end)).await;
    }

    /// Returns the number of connections that were accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        *self.shared.open.borrow()
    }

    /// Waits until `count` connections are open.
    ///
    /// # Panics
    ///
    /// If this takes more than ten seconds.
    pub async fn wait_until_open(&self, count: usize) {
        let mut open = self.shared.open.subscribe();
        let reached = time::timeout(Duration::from_secs(10), open.wait_for(|now| *now == count));
        assert!(reached.await.is_ok(), "{} connections are open, not {count}", self.open());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections, except while the faults refuse them. The connections end with this future.
async fn listen(shared: Arc<Shared>, listens: watch::Sender<bool>) {
    let mut changes = shared.faults.subscribe();
    let mut connections = JoinSet::new();
    let mut listener = None;
    loop {
        let wanted = changes.borrow_and_update().connect != Connect::Refuse;
        // Without a listener the kernel refuses connections.
        listener = match listener.take() {
            Some(listener) if wanted => Some(listener),
            None if wanted => Some(bind(&shared).await),
            _ => None,
        };
        listens.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
        tokio::select! {
            _ = changes.changed() => {}
            Some(_) = connections.join_next() => {}
            Ok((client, _)) = accept(listener.as_ref()) => {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                let resets = shared.resets.subscribe();
                connections.spawn(connection::serve(Arc::clone(&shared), client, resets));
            }
        }
    }
}

async fn bind(shared: &Shared) -> TcpListener {
    let address = (Ipv4Addr::LOCALHOST, shared.port.number());
    TcpListener::bind(address).await.expect("the port is reserved for this proxy")
}

async fn accept(
    listener: Option<&TcpListener>,
) -> std::io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}
