//! The effect and the end of each fault.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use throttle_testbed::{Connect, Faults, Proxy, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const SHORT: Duration = Duration::from_millis(100);

/// A minimal client of Redis.
struct Client(TcpStream);

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        Self(TcpStream::connect(proxy.address()).await.expect("the proxy listens"))
    }

    async fn send(&mut self, command: &str) {
        let line = format!("{command}\r\n");
        self.0.write_all(line.as_bytes()).await.expect("the connection is open");
    }

    async fn read(&mut self) -> std::io::Result<String> {
        let mut buffer = [0; 256];
        let length = self.0.read(&mut buffer).await?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    async fn call(&mut self, command: &str) -> String {
        self.send(command).await;
        self.read().await.expect("the connection is open")
    }

    async fn receives_nothing(&mut self) -> bool {
        timeout(SHORT, self.read()).await.is_err()
    }
}

async fn start() -> (Server, Proxy, Client) {
    let redis = Server::start();
    let proxy = Proxy::start(redis.address()).await;
    let mut client = Client::connect(&proxy).await;
    assert_eq!(client.call("PING").await, "+PONG\r\n");
    (redis, proxy, client)
}

#[tokio::test]
async fn connections_are_counted() {
    let (_redis, proxy, client) = start().await;
    let mut second = Client::connect(&proxy).await;
    assert_eq!(second.call("PING").await, "+PONG\r\n");
    assert_eq!((proxy.accepted(), proxy.open()), (2, 2));
    drop(client);
    proxy.wait_until_open(1).await;
    assert_eq!(proxy.accepted(), 2);

    drop(proxy);
    assert_eq!(second.read().await.unwrap(), "");
}

#[tokio::test]
async fn latency_is_added_each_way() {
    let (_redis, proxy, mut client) = start().await;
    let jitter = Duration::from_millis(10);
    proxy.set(Faults { latency: SHORT, jitter, ..Faults::default() }).await;
    let now = Instant::now();
    assert_eq!(client.call("PING").await, "+PONG\r\n");
    assert!(now.elapsed() >= 2 * SHORT);
}

#[tokio::test]
async fn held_answers_are_late_and_their_requests_are_carried_out() {
    let (redis, proxy, mut client) = start().await;
    let now = Instant::now();
    proxy.hold_answers(3 * SHORT);
    client.send("INCR key").await;
    assert!(client.receives_nothing().await);
    assert_eq!(redis.command(&["GET", "key"]).integer(), 1);
    assert_eq!(client.read().await.unwrap(), ":1\r\n");
    assert!(now.elapsed() >= 3 * SHORT);
}

#[tokio::test]
async fn held_requests_reach_the_server_after_the_fault() {
    let (redis, proxy, mut client) = start().await;
    proxy.set(Faults { hold_requests: true, ..Faults::default() }).await;
    client.send("INCR key").await;
    assert!(client.receives_nothing().await);
    assert_eq!(redis.command(&["GET", "key"]).to_string(), "");
    proxy.heal().await;
    assert_eq!(client.read().await.unwrap(), ":1\r\n");
}

#[tokio::test]
async fn a_reset_is_seen_as_a_reset() {
    let (_redis, proxy, mut client) = start().await;
    proxy.reset_all();
    assert_eq!(client.read().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.wait_until_open(0).await;
    let mut next = Client::connect(&proxy).await;
    assert_eq!(next.call("PING").await, "+PONG\r\n");
}

#[tokio::test]
async fn a_refused_client_can_connect_after_the_fault() {
    let (_redis, proxy, mut client) = start().await;
    proxy.set(Faults { connect: Connect::Refuse, ..Faults::default() }).await;
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(client.call("PING").await, "+PONG\r\n");
    proxy.heal().await;
    assert_eq!(Client::connect(&proxy).await.call("PING").await, "+PONG\r\n");
}

#[tokio::test]
async fn a_black_hole_accepts_and_never_answers() {
    let (_redis, proxy, mut client) = start().await;
    proxy.set(Faults { connect: Connect::BlackHole, ..Faults::default() }).await;
    let mut lost = Client::connect(&proxy).await;
    lost.send("PING").await;
    assert!(lost.receives_nothing().await);
    assert_eq!(client.call("PING").await, "+PONG\r\n");
    proxy.heal().await;
    assert!(lost.receives_nothing().await);
    drop(lost);
    proxy.wait_until_open(1).await;
}

#[tokio::test]
async fn a_cut_answer_is_incomplete() {
    let (redis, proxy, mut client) = start().await;
    proxy.set(Faults { cut_answers_at: Some(2), ..Faults::default() }).await;
    client.send("INCRBY key 1000").await;
    assert_eq!(client.read().await.unwrap(), ":1");
    assert_eq!(client.read().await.unwrap(), "");
    assert_eq!(redis.command(&["GET", "key"]).integer(), 1_000);
}

#[tokio::test]
async fn a_slow_connection_has_the_given_bandwidth() {
    let (_redis, proxy, mut client) = start().await;
    let now = Instant::now();
    proxy.set(Faults { bytes_per_second: Some(1_000), ..Faults::default() }).await;
    client.send(&format!("ECHO {}", "x".repeat(200))).await;
    let mut answer = String::new();
    while answer.len() < 208 {
        answer.push_str(&client.read().await.unwrap());
    }
    assert!(now.elapsed() >= 3 * SHORT, "200 bytes in each direction took {:?}", now.elapsed());
}

#[tokio::test]
async fn a_close_can_be_delayed() {
    let (redis, proxy, mut client) = start().await;
    proxy.set(Faults { close_delay: 2 * SHORT, ..Faults::default() }).await;
    redis.kill();
    assert!(client.receives_nothing().await);
    assert_eq!(client.read().await.unwrap(), "");
}

#[tokio::test]
async fn a_server_that_is_down_closes_at_once() {
    let (redis, proxy, mut client) = start().await;
    redis.kill();
    assert_eq!(client.read().await.unwrap(), "");
    assert!(Client::connect(&proxy).await.read().await.is_err());
    redis.restart();
    assert_eq!(Client::connect(&proxy).await.call("PING").await, "+PONG\r\n");
}

#[tokio::test]
async fn random_faults_end_and_are_reproducible() {
    let some = |seed| Faults::random(seed).take(20).collect::<Vec<_>>();
    assert_eq!(some(1), some(1));
    assert_ne!(some(1), some(2));

    let (_redis, proxy, _client) = start().await;
    proxy.run_random(1, Duration::from_millis(500)).await;
    assert_eq!(Client::connect(&proxy).await.call("PING").await, "+PONG\r\n");
}
