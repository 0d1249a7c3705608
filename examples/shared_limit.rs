//! A limit that three servers share through Redis.
//!
//! `cargo run --features redis --example shared_limit` starts `redis-server`, which must be installed, and three
//! Axum servers. It sends requests to all of them, and prints how many requests each allowed. To use a running
//! Redis:
//! `RATETHROTTLE_URL=redis://127.0.0.1:6379/0 cargo run --features redis --example shared_limit`.

use std::{
    env,
    error::Error,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Router, routing::get};
use ratethrottle::{Algorithm, Limiter, RateThrottleLayer, RedisStorage, Rule, Storage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const LIMIT: u64 = 100;
const SERVERS: usize = 3;
const CLIENTS: usize = 20;
const ROUNDS: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut own = None;
    let url = match env::var("RATETHROTTLE_URL") {
        Ok(url) => url,
        Err(_) => own.insert(OwnRedis::start()?).url(),
    };
    let answers = run(&url).await?;
    println!("{} requests to {SERVERS} servers:", CLIENTS * ROUNDS * SERVERS);
    for (i, answers) in answers.iter().enumerate() {
        println!("  server {}: {} allowed, {} rejected", i + 1, answers.ok, answers.too_many);
    }
    let allowed: u64 = answers.iter().map(|answers| answers.ok).sum();
    println!("total: {allowed} allowed; the limit is {LIMIT}");
    Ok(())
}

/// Creates the service. All servers use the same Redis and the same rules.
async fn app(url: &str) -> Result<Router, Box<dyn Error>> {
    let limiter = Limiter::new(connect(url).await?);
    limiter.add_rule(Rule::per_hour("api", LIMIT).algorithm(Algorithm::SlidingWindowLog))?;
    let layer = RateThrottleLayer::new(&limiter).rule("api").build()?;
    Ok(Router::new().route("/", get(|| async { "hello\n" })).layer(layer))
}

async fn connect(url: &str) -> Result<RedisStorage, ratethrottle::redis::Error> {
    // The prefix separates the keys from those of other applications in the same Redis.
    RedisStorage::builder(url).key_prefix("shared-limit-example:").connect().await
}

/// The number of responses of a server with 200 and 429.
#[derive(Clone, Copy, Default, Debug)]
struct Answers {
    ok: u64,
    too_many: u64,
}

/// Starts the servers, sends requests to them, and counts their responses.
async fn run(url: &str) -> Result<[Answers; SERVERS], Box<dyn Error>> {
    wait_for_redis(url).await?.clear().await?; // removes the counts of an earlier run
    let mut addresses = Vec::new();
    for _ in 0..SERVERS {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?);
        let service = app(url).await?.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async { axum::serve(listener, service).await });
    }

    let start = |addresses: Vec<_>| tokio::spawn(async move { client(&addresses).await });
    let clients: Vec<_> = (0..CLIENTS).map(|_| start(addresses.clone())).collect();
    let mut answers = [Answers::default(); SERVERS];
    for client in clients {
        for (sum, answers) in answers.iter_mut().zip(client.await??) {
            sum.ok += answers.ok;
            sum.too_many += answers.too_many;
        }
    }
    Ok(answers)
}

/// Sends requests to all servers, one after the other.
async fn client(servers: &[SocketAddr]) -> std::io::Result<[Answers; SERVERS]> {
    let mut answers = [Answers::default(); SERVERS];
    for _ in 0..ROUNDS {
        for (server, answers) in servers.iter().zip(&mut answers) {
            let mut stream = TcpStream::connect(server).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            match answer.split(' ').nth(1) {
                Some("200") => answers.ok += 1,
                Some("429") => answers.too_many += 1,
                _ => return Err(std::io::Error::other(answer)),
            }
        }
    }
    Ok(answers)
}

/// Connects, and waits until a Redis that was just started is ready.
async fn wait_for_redis(url: &str) -> Result<RedisStorage, ratethrottle::redis::Error> {
    for _ in 0..50 {
        if let Ok(storage) = connect(url).await {
            return Ok(storage);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    connect(url).await
}

/// A Redis server for this program, which stores nothing on disk and is stopped on drop.
struct OwnRedis {
    server: Child,
    port: u16,
}

impl OwnRedis {
    fn start() -> Result<Self, Box<dyn Error>> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(); // a free port
        let server = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!(
                    "cannot start redis-server: {error}. Install it, or set RATETHROTTLE_URL to a running Redis"
                )
            })?;
        Ok(Self { server, port })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn three_servers_together_allow_exactly_the_limit() {
        let redis = throttle_testbed::Server::start();
        let url = redis.url();
        for _ in 0..2 {
            let answers = run(&url).await.unwrap();
            let allowed: u64 = answers.iter().map(|answers| answers.ok).sum();
            let rejected: u64 = answers.iter().map(|answers| answers.too_many).sum();
            assert_eq!((allowed, rejected), (LIMIT, 500), "{answers:?}");
            assert!(answers.iter().all(|answers| answers.ok > 0), "{answers:?}");
        }
    }

    #[tokio::test]
    async fn the_own_redis_server_is_stopped_on_drop() {
        let redis = OwnRedis::start().unwrap();
        let url = redis.url();
        wait_for_redis(&url).await.unwrap();
        drop(redis);
        assert!(connect(&url).await.is_err());
    }
}
